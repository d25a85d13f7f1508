// What is outdated by the next one of its kind, while it waits.

/** Kinds that wait at a time; beyond it the one that has waited longest goes. */
const KINDS_MOST = 256

/** The newest of its kind takes the place of an older one, at the end of the row. */
export function put<V>(row: Map<string, V>, kind: string, value: V): void {
  row.delete(kind)
  row.set(kind, value)
  if (row.size > KINDS_MOST) row.delete(row.keys().next().value!)
}
