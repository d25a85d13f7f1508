// Event-stream bytes to frames (HTML standard, "Server-sent events"), with our fields beside the
// standard's. Pure. Invariant: a frame that did not end is never told.

export interface Frame {
  event: string
  data: string
  id?: string | undefined
  topic?: string | undefined
  item?: string | undefined
  encoding?: string | undefined
  retry?: number
}

/** A parser that is fed decoded text piece by piece and calls `hear` for each frame. Throws beyond `most` characters. */
export function parser(hear: (frame: Frame) => void, most: number): (text: string) => void {
  let rest = ''
  let wasCut = false
  let size = 0
  let data: string[] = []
  let fields: { [name: string]: string } = {}

  const line = (text: string): void => {
    if (!text) {
      if (data.length) {
        const { event, id, topic, item, encoding, retry } = fields
        hear({ event: event || 'message', data: data.join('\n'), id, topic, item, encoding, ...(/^\d+$/.test(retry!) && { retry: +retry! }) })
      }
      data = []
      fields = {}
      size = 0
      return
    }
    size += text.length
    const colon = text.indexOf(':')
    const name = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (name === 'data') data.push(value)
    else if (name) fields[name] = value
  }

  return (text) => {
    if (!text) return
    // The other half of a CRLF.
    if (wasCut && text[0] === '\n') text = text.slice(1)
    wasCut = text.endsWith('\r')
    rest += text
    if (/[\r\n]/.test(text)) {
      const lines = rest.split(/\r\n|\r|\n/)
      rest = lines.pop()!
      lines.forEach(line)
    }
    if (size + rest.length > most) throw new Error(`an event of more than ${most} characters`)
  }
}
