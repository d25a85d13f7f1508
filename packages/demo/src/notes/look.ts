// How a note looks while it is plain text: lines that begin like a heading, a list or a check box
// look like one. Decorations only; the text stays what was typed.

import { RangeSetBuilder } from '@codemirror/state'
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate } from '@codemirror/view'

const KINDS: [RegExp, string][] = [
  [/^# /, 'h1'], [/^## /, 'h2'], [/^#{3,6} /, 'h3'], [/^\s*[-*] \[x\] /i, 'done'], [/^\s*[-*] \[ \] /, 'open'], [/^\s*[-*] /, 'item'], [/^> /, 'quote'],
]

const marked = (view: EditorView): DecorationSet => {
  const set = new RangeSetBuilder<Decoration>()
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to;) {
      const line = view.state.doc.lineAt(at)
      const found = KINDS.find(([kind]) => kind.test(line.text))
      if (found) {
        set.add(line.from, line.from, Decoration.line({ class: `cm-${found[1]}` }))
        const sign = found[0].exec(line.text)![0]
        if (sign.trim()) set.add(line.from, line.from + sign.length, Decoration.mark({ class: 'cm-sign' }))
      }
      at = line.to + 1
    }
  }
  return set.finish()
}

export const look = ViewPlugin.fromClass(class {
  decorations: DecorationSet
  constructor(view: EditorView) {
    this.decorations = marked(view)
  }
  update(update: ViewUpdate): void {
    if (update.docChanged || update.viewportChanged) this.decorations = marked(update.view)
  }
}, { decorations: ({ decorations }) => decorations })

export const theme = EditorView.theme({
  '&': { height: '100%', color: 'var(--ink)', backgroundColor: 'transparent', fontSize: '14px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--sans)', lineHeight: '24px', overflow: 'auto' },
  '.cm-content': { padding: '16px 20px 64px', caretColor: 'var(--ink)', maxWidth: '72ch' },
  '.cm-line': { padding: '0' },
  '.cm-placeholder': { color: 'var(--ink-3)' },
  '.cm-h1': { fontSize: '20px', lineHeight: '32px', fontWeight: '650', letterSpacing: '-0.01em' },
  '.cm-h2': { fontSize: '16px', lineHeight: '32px', fontWeight: '650', paddingTop: '8px' },
  '.cm-h3': { fontWeight: '650' },
  '.cm-sign': { color: 'var(--ink-3)', fontWeight: '400' },
  '.cm-done': { color: 'var(--ink-3)', textDecoration: 'line-through', textDecorationColor: 'var(--line-strong)' },
  '.cm-quote': { color: 'var(--ink-2)', borderLeft: '2px solid var(--line-strong)', paddingLeft: '12px' },
  '.cm-other': { position: 'relative', borderLeft: '2px solid var(--person)', marginLeft: '-1px', marginRight: '-1px' },
  '.cm-other-name': { position: 'absolute', bottom: '100%', left: '-2px', padding: '0 5px', borderRadius: '4px 4px 4px 0', font: '600 11px/16px var(--sans)', color: '#fff', background: 'var(--person)', whiteSpace: 'nowrap', userSelect: 'none', zIndex: '2', textDecoration: 'none' },
  '.cm-line:first-child .cm-other-name': { bottom: 'auto', top: '100%', borderRadius: '0 4px 4px 4px' },
  '.cm-other-part': { backgroundColor: 'color-mix(in srgb, var(--person) 22%, transparent)' },
})
