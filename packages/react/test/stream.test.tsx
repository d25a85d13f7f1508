// useStream: parts of a stream that ends, shown once a frame.

import assert from 'node:assert/strict'
import test from 'node:test'
import { hooks, type Stream } from '../src/index.js'
import type { App } from './app.js'
import { after, mount, page, until } from './dom.js'
import { FakeLive } from './fake.js'

page()
const { Tidewire, useStream } = hooks<App>()

let shown: Stream<{ text: string }, { tokens: number }>
let renders = 0
const Answer = ({ id = '42' }: { id?: string | null }) => {
  renders++
  shown = useStream(id && `answers/${id}`)
  return <>{shown.parts.map(({ text }) => text).join('')}{shown.done && ` (${shown.end?.tokens})`}</>
}
const view = (live: FakeLive, props: Parameters<typeof Answer>[0] = {}) => <Tidewire live={live}><Answer {...props} /></Tidewire>
const token = (live: FakeLive, ...texts: string[]) => texts.forEach((text) => live.publish('answers/42', 'token', { text }))
const turn = () => after(() => new Promise((resolve) => setImmediate(resolve)))

/** Animation frames that come when the test says so. */
function frames(t: import('node:test').TestContext) {
  const waiting: (() => void)[] = []
  Object.assign(globalThis, { requestAnimationFrame: (call: () => void) => waiting.push(call) })
  t.mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => Object.assign(globalThis, { requestAnimationFrame: undefined }))
  return {
    waiting,
    async next() {
      await turn()
      await after(() => waiting.splice(0).forEach((call) => call()))
    },
  }
}

test('parts are shown once a frame, then the end', async (t) => {
  const live = new FakeLive()
  const frame = frames(t)
  const at = await mount(view(live))
  assert.deepEqual([shown.parts, shown.done], [[], false])
  const before = renders
  token(live, 'Once', ' upon')
  await turn()
  token(live, ' a')
  await turn()
  assert.equal(at.text, '')
  assert.equal(frame.waiting.length, 1, 'one frame is asked for')
  await frame.next()
  assert.equal(at.text, 'Once upon a')
  assert.equal(renders, before + 1)
  token(live, ' time')
  live.publish('answers/42', 'end', { tokens: 4 })
  await frame.next()
  assert.equal(at.text, 'Once upon a time (4)')
  assert.equal(live.readers('answers/42'), 0, 'a stream that ended is left')
})

test('a hidden tab has no frames, and is shown the parts all the same', async (t) => {
  const live = new FakeLive()
  const frame = frames(t)
  const at = await mount(view(live))
  token(live, 'tick')
  await turn()
  await after(() => t.mock.timers.tick(99))
  assert.equal(at.text, '')
  await after(() => t.mock.timers.tick(1))
  assert.equal(at.text, 'tick')
  const before = renders
  await frame.next()
  assert.equal(renders, before, 'the frame that comes late does nothing')
})

test('a reload or a remount in the middle shows it whole', async () => {
  const live = new FakeLive()
  const at = await mount(view(live))
  token(live, 'one ', 'two ')
  await until('parts are there', () => at.text === 'one two ')
  await at.unmount()
  token(live, 'three ')
  const again = await mount(view(live))
  token(live, 'four')
  live.publish('answers/42', 'end', { tokens: 4 })
  await until('it is whole', () => again.text === 'one two three four (4)')
  const late = await mount(view(live))
  await until('after its end too', () => late.text === 'one two three four (4)')
})

test('StrictMode reads it once', async () => {
  const live = new FakeLive()
  token(live, 'a')
  const at = await mount(view(live), { strict: true })
  await until('it is there', () => at.text === 'a')
  assert.deepEqual(live.wire, ['subscribe answers/42 start'])
  assert.equal(live.readers('answers/42'), 1)
})

test('another topic is another stream, and none is none', async () => {
  const live = new FakeLive()
  token(live, 'a')
  live.publish('answers/43', 'token', { text: 'b' })
  const at = await mount(view(live))
  await until('the first', () => at.text === 'a')
  await at.render(view(live, { id: '43' }))
  await until('the second', () => at.text === 'b')
  await until('the first is left', () => live.readers('answers/42') === 0)
  await at.render(view(live, { id: null }))
  assert.equal(at.text, '')
})

test('an error is told', async () => {
  const live = new FakeLive()
  live.refusals.push({ code: 'forbidden', message: 'not yours', next: 'give_up' })
  await mount(view(live))
  await until('it is told', () => shown.error)
  assert.deepEqual([shown.error?.message, shown.done, shown.state], ['not yours', false, 'failed'])
})

test('texts are one text, whatever they come in; it says how it ended', async () => {
  const live = new FakeLive()
  let seen!: Stream<unknown>
  const Text = ({ item }: { item?: string }) => {
    seen = useStream('answers/42', item === undefined ? {} : { item })
    return <>{seen.text}</>
  }
  const text = (data: string, item?: string) => live.publish('answers/42', 'text', data, item)
  text('Once ')
  const at = await mount(<Tidewire live={live}><Text /></Tidewire>)
  await until('the first', () => at.text === 'Once ')
  text('upon ', 'a')
  live.publish('answers/42', 'tool', { name: 'clock' })
  await until('more', () => at.text === 'Once upon ')
  assert.deepEqual([seen.state, seen.done, seen.parts.length], ['streaming', false, 3])
  seen.cancel()
  await until('it is cancelled', () => seen.state === 'cancelled')
  assert.deepEqual([seen.done, seen.error, live.wire.includes('cancel answers/42')], [true, undefined, true])
  await at.render(<Tidewire live={live}><Text item="a" /></Tidewire>)
  await until('one of its texts', () => at.text === 'upon ')
})

for (const [event, data, state, why] of [['end', {}, 'done', undefined], ['fail', { message: 'the model is down' }, 'failed', 'the model is down'], ['cancel', { by: null }, 'cancelled', undefined]] as const) {
  test(`a stream whose last event is ${event} is ${state}`, async () => {
    const live = new FakeLive()
    await mount(view(live))
    live.publish('answers/42', event, data)
    await until('it is told', () => shown.done)
    assert.deepEqual([shown.state, shown.error?.message], [state, why])
  })
}

test('one event alone, and another that ends it', async () => {
  const live = new FakeLive()
  const Typing = () => {
    const { parts, end, done } = useStream('chat/a', { event: 'message', until: 'typing' })
    return <>{parts.map(({ text }) => text).join('')} {done && end?.who}</>
  }
  live.publish('chat/a', 'message', { text: 'a' })
  live.publish('chat/a', 'other', { text: 'x' })
  live.publish('chat/a', 'typing', { who: 'Ana' })
  const at = await mount(<Tidewire live={live}><Typing /></Tidewire>)
  await until('it ended', () => at.text === 'a Ana')
})
