// Event-stream bytes to frames (HTML standard, "Server-sent events"), with our fields beside the
// standard's. Pure. Invariant: a frame that did not end is never told.

export interface Frame {
  event: string
  data: string
  id?: string
  topic?: string
  encoding?: string
  retry?: number
}

/** A parser that is fed text piece by piece and calls `hear` for each frame. Throws beyond `most` characters. */
export function parser(hear: (frame: Frame) => void, most: number): (text: string) => void {
  let rest = ''
  let isFirst = true
  let size = 0
  let data: string[] = []
  let fields: { [name: string]: string } = {}

  const line = (text: string): void => {
    if (!text) {
      if (data.length) {
        const { event = 'message', id, topic, encoding, retry } = fields
        const frame: Frame = { event, data: data.join('\n') }
        if (id) frame.id = id
        if (topic) frame.topic = topic
        if (encoding) frame.encoding = encoding
        if (retry && /^\d+$/.test(retry)) frame.retry = +retry
        hear(frame)
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
    if (isFirst && text) {
      isFirst = false
      if (text[0] === '\ufeff') text = text.slice(1)
    }
    const cut = Math.max(text.lastIndexOf('\n'), text.lastIndexOf('\r')) + 1
    rest += text
    if (cut) {
      // A CR at the end may be half of a CRLF: it waits for what follows.
      const isOpen = rest.endsWith('\r')
      const lines = (isOpen ? rest.slice(0, -1) : rest).split(/\r\n|\n|\r/)
      rest = lines.pop() + (isOpen ? '\r' : '')
      lines.forEach(line)
    }
    if (size + rest.length > most) throw new Error(`an event of more than ${most} characters`)
  }
}
