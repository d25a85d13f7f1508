// Where the others write in the shared document, in their colours. Made here and not taken from
// y-codemirror.next, because its marks carry style attributes, which the page's policy forbids.

import { Annotation, type Extension, RangeSetBuilder } from '@codemirror/state'
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate, WidgetType } from '@codemirror/view'
import type { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'

interface Said { user?: { name: string; color: string }; caret?: { anchor: unknown; head: unknown } | null }

const moved = Annotation.define<boolean>()

class Caret extends WidgetType {
  constructor(readonly name: string, readonly color: string) {
    super()
  }
  override eq(other: Caret): boolean {
    return other.name === this.name && other.color === this.color
  }
  toDOM(): HTMLElement {
    const caret = document.createElement('span')
    caret.className = 'cm-other'
    caret.style.setProperty('--person', this.color)
    const flag = document.createElement('span')
    flag.className = 'cm-other-name'
    flag.textContent = this.name
    caret.append('\u2060', flag, '\u2060')
    caret.setAttribute('aria-hidden', 'true')
    return caret
  }
  override ignoreEvent(): boolean {
    return true
  }
}

export function carets(text: Y.Text, awareness: Awareness): Extension {
  const doc = text.doc!
  const placeOf = (json: unknown): number | undefined => {
    try {
      const place = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(json), doc)
      return place?.type === text ? place.index : undefined
    } catch {
      return undefined
    }
  }

  const draw = (length: number): DecorationSet => {
    const marks: { from: number; to: number; what: Decoration }[] = []
    for (const [client, state] of awareness.getStates() as Map<number, Said>) {
      if (client === awareness.clientID || !state.caret || !state.user) continue
      const anchor = placeOf(state.caret.anchor)
      const head = placeOf(state.caret.head)
      if (anchor === undefined || head === undefined || anchor > length || head > length) continue
      const { name, color } = state.user
      if (anchor !== head) marks.push({ from: Math.min(anchor, head), to: Math.max(anchor, head), what: Decoration.mark({ class: 'cm-other-part', attributes: { style: `--person:${color}` } }) })
      marks.push({ from: head, to: head, what: Decoration.widget({ widget: new Caret(name, color), side: head < anchor ? -1 : 1 }) })
    }
    const set = new RangeSetBuilder<Decoration>()
    for (const { from, to, what } of marks.sort((a, b) => a.from - b.from || a.what.startSide - b.what.startSide)) set.add(from, to, what)
    return set.finish()
  }

  return ViewPlugin.fromClass(class {
    decorations: DecorationSet
    readonly #changed: () => void

    constructor(view: EditorView) {
      this.decorations = draw(view.state.doc.length)
      this.#changed = () => queueMicrotask(() => view.dispatch({ annotations: [moved.of(true)] }))
      awareness.on('change', this.#changed)
    }

    update({ view, state, docChanged, selectionSet, focusChanged, transactions }: ViewUpdate): void {
      if (selectionSet || focusChanged || docChanged) {
        const { anchor, head } = state.selection.main
        const place = (at: number): unknown => JSON.parse(JSON.stringify(Y.createRelativePositionFromTypeIndex(text, Math.min(at, text.length))))
        const said = view.hasFocus ? { anchor: place(anchor), head: place(head) } : null
        if (JSON.stringify((awareness.getLocalState() as Said | null)?.caret ?? null) !== JSON.stringify(said)) queueMicrotask(() => awareness.setLocalStateField('caret', said))
      }
      if (docChanged || transactions.some((one) => one.annotation(moved))) this.decorations = draw(state.doc.length)
    }

    destroy(): void {
      awareness.off('change', this.#changed)
    }
  }, { decorations: (plugin) => plugin.decorations })
}
