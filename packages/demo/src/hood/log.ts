// What happened to this window's connections, in plain words: the newest hundred lines.

export type Kind = 'status' | 'resumed' | 'gap' | 'moved' | 'hurt' | 'good' | 'bad' | 'note'
export interface Line { n: number; at: number; kind: Kind; text: string }

const LINES_MAX = 100

export class Log {
  #lines: readonly Line[] = []
  #n = 0
  readonly #listeners = new Set<() => void>()

  add(kind: Kind, text: string): void {
    const last = this.#lines[this.#lines.length - 1]
    if (last && last.text === text && Date.now() - last.at < 1000) return
    this.#lines = [...this.#lines, { n: ++this.#n, at: Date.now(), kind, text }].slice(-LINES_MAX)
    this.#listeners.forEach((call) => call())
  }
  readonly lines = (): readonly Line[] => this.#lines
  readonly subscribe = (call: () => void): (() => void) => {
    this.#listeners.add(call)
    return () => this.#listeners.delete(call)
  }
}
