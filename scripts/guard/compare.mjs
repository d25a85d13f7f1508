// What is said about counts, beside a baseline. Pure: no files, no processes.
//
// A count that is higher by more than the tolerance fails. One that is lower by more asks for a new
// baseline, so that what was won is kept, and does not fail. Another compiler or another libc counts
// otherwise: then differences are said, and judged by nobody. A case without a baseline, or a
// baseline without its case, fails everywhere: it means that somebody forgot half of a change.

/**
 * @param {{madeWith: Record<string, string>, tolerancePercent: number, cases: Record<string, number>}} baseline
 * @param {{madeWith: Record<string, string>, cases: Record<string, number>}} counted instructions per operation
 */
export function compare(baseline, counted) {
  const others = Object.keys(counted.madeWith).filter((key) => counted.madeWith[key] !== baseline.madeWith[key])
  const isJudged = others.length === 0
  const names = [...new Set([...Object.keys(baseline.cases), ...Object.keys(counted.cases)])].sort()
  const rows = names.map((name) => row(name, baseline.cases[name], counted.cases[name], baseline.tolerancePercent))
  const fails = ({ verdict }) => verdict === 'new' || verdict === 'gone' || (isJudged && verdict === 'more')
  const failed = rows.filter(fails)
  return { rows, isJudged, failed, words: words(baseline, counted, { rows, others, isJudged, failed }) }
}

function row(name, before, now, tolerancePercent) {
  if (before === undefined) return { name, now, verdict: 'new' }
  if (now === undefined) return { name, before, verdict: 'gone' }
  const percent = (now / before - 1) * 100
  const edge = (side) => before * (100 + side * tolerancePercent) / 100
  const verdict = now > edge(1) ? 'more' : now < edge(-1) ? 'less' : 'same'
  return { name, before, now, percent, verdict }
}

function words(baseline, counted, { rows, others, isJudged, failed }) {
  const said = []
  for (const key of others) said.push(`the baseline was counted with ${key} ${baseline.madeWith[key]}, this with ${counted.madeWith[key]}`)
  if (!isJudged) said.push('NOT JUDGED: these counts cannot be compared; `make guard-update` with the new ones when they are here to stay')
  const tolerance = `the tolerance is ${baseline.tolerancePercent} %`
  for (const { name, before, now, percent, verdict } of rows) {
    if (verdict === 'new') said.push(`${name} has no baseline: \`make guard-update\`, and commit it`)
    if (verdict === 'gone') said.push(`${name} is in the baseline and nowhere else: \`make guard-update\`, and commit it`)
    if (verdict === 'more') said.push(`${name} costs ${number(now)} instructions, ${number(before)} before: ${signed(percent)} (${tolerance})`)
    if (verdict === 'less') said.push(`${name} costs ${number(now)} instructions, ${number(before)} before: ${signed(percent)}; \`make guard-update\` keeps it`)
  }
  if (failed.some(({ verdict }) => verdict === 'more')) said.push('if that is the price of something, say of what in the commit that has the new baseline (`make guard-update`)')
  return said
}

/** A table for people. */
export function table(rows) {
  const width = Math.max(...rows.map(({ name }) => name.length))
  const line = ({ name, before, now, percent, verdict }) => {
    const change = percent === undefined ? verdict : `${signed(percent)}${verdict === 'same' ? '' : `  ${verdict}`}`
    return `  ${name.padEnd(width)} ${number(before).padStart(9)} ${number(now).padStart(9)}  ${change}`
  }
  return [`  ${'instructions per operation'.padEnd(width)} ${'baseline'.padStart(9)} ${'now'.padStart(9)}`, ...rows.map(line)].join('\n')
}

/** What callgrind counted, per operation, from its file and from what the case said. */
export function perOperation(profile, said) {
  const total = /^totals: (\d+)$/m.exec(profile)?.[1]
  const operations = [...said.matchAll(/counted (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0)
  if (!total || Number(total) === 0 || operations === 0) return undefined
  return Math.round(Number(total) / operations * 10) / 10
}

function number(value) {
  return value === undefined ? '' : value.toFixed(1)
}

function signed(percent) {
  return `${percent >= 0 ? '+' : ''}${percent.toFixed(1)} %`
}
