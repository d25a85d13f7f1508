// What a feature keeps of its past, as an app sees it: latest values, texts, pages from the back. And items.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Entry, Meta } from '../src/api.js'
import type { Sim } from './support/sim.js'
import { upTo, world } from './support/setup.js'

const features = (transport: 'sse' | 'ws' | 'poll') => (sim: Sim): void => {
  sim.plan.features.push({ feature: 'stats', transport, history: '1d', keep: 'latest' }, { feature: 'answers', transport, history: '1d', keep: 'text' })
}
const DOORS = ['sse', 'ws', 'poll'] as const
const set = (sim: Sim, item: string | undefined, value: unknown): unknown => sim.publish('stats/eu', value, 'value', undefined, item)
const say = (sim: Sim, text: string, item?: string): unknown => sim.publish('answers/1', text, 'text', 'text', item)

for (const door of DOORS) {
  test(`${door}: an entry names its item`, async () => {
    const { clock, sim, live } = world({}, features(door))
    const metas: (string | undefined)[] = []
    live.topic('stats/eu').on('*', (_, { item }: Meta) => metas.push(item))
    set(sim, 'cpu', 1)
    await clock.run(1000)
    set(sim, undefined, 2)
    sim.publish('stats/eu', 'AP8K', 'value', 'base64', 'bytes')
    await clock.run(1000)
    assert.deepEqual(metas, ['cpu', undefined, 'bytes'])
    live.close()
  })

  test(`${door}: a topic of latest values begins with them, unless it is told where; then come the changes`, async () => {
    const { clock, sim, live, hear } = world({}, features(door))
    for (const n of upTo(5)) set(sim, 'cpu', n)
    set(sim, 'ram', 'r')
    // Before the plan is known, and after.
    const [left, now] = [hear('stats/eu'), hear('stats/eu', { after: 'now' })]
    await clock.run(1000)
    const later = hear('stats/eu')
    await clock.run(1000)
    set(sim, 'cpu', 5)
    await clock.run(1000)
    assert.deepEqual([left.data, now.data, later.data], [[4, 'r', 5], [5], [4, 'r', 5]])
    live.close()
  })

  test(`${door}: who comes later to values or texts makes no traffic, and nobody hears a thing twice`, async () => {
    const { clock, sim, live, hear } = world({}, features(door))
    for (const n of upTo(3)) set(sim, 'cpu', n)
    say(sim, 'Once ')
    say(sim, 'upon ')
    const [values, text] = [hear('stats/eu'), hear('answers/1', { after: 'start' })]
    await clock.run(1000)
    say(sim, 'a ')
    set(sim, 'ram', 'r')
    await clock.run(1000)
    const [asked, said] = [sim.count(/sse|events/), sim.said.length]
    const [moreValues, moreText] = [hear('stats/eu'), hear('answers/1', { after: 'start' })]
    say(sim, 'time')
    set(sim, 'cpu', 3)
    await clock.run(1000)
    if (door !== 'poll') assert.deepEqual([sim.count(/sse|events/), sim.said.length], [asked, said])
    assert.deepEqual([values.data, moreValues.data.slice(-2)], [[2, 'r', 3], ['r', 3]])
    assert.deepEqual([text.data.join(''), moreText.data.join('')], ['Once upon a time', 'Once upon a time'])
    live.close()
  })

  test(`${door}: latest() is a map of values, and forgets what is null`, async () => {
    const { clock, sim, live } = world({}, features(door))
    for (const n of upTo(5)) set(sim, 'cpu', n)
    set(sim, undefined, 'no item')
    const latest = live.topic('stats/eu').latest()
    const told: string[] = []
    const off = latest.on((values, change) => {
      assert.equal(values, latest.values)
      told.push(`${change?.item}=${change?.data}`)
    })
    await clock.run(1000)
    assert.deepEqual([...latest.values], [['cpu', 4], ['', 'no item']])
    set(sim, 'cpu', null)
    set(sim, 'ram', 1)
    await clock.run(1000)
    assert.deepEqual([...latest.values], [['', 'no item'], ['ram', 1]])
    assert.deepEqual(told, ['cpu=4', 'undefined=no item', 'cpu=null', 'ram=1'])
    off()
    await clock.run(60_000)
    assert.equal(clock.waiting, 0)
  })

  test(`${door}: the text of a stream: whole for who comes late, across a restart, to its end`, async () => {
    const { clock, sim, live } = world({}, features(door))
    const read = async (item?: string): Promise<string[]> => {
      const parts: string[] = []
      for await (const part of live.topic('answers/1').text(item === undefined ? {} : { item })) parts.push(part)
      return [...parts, '(end)']
    }
    for (const text of ['Once ', 'upon ', 'a ']) say(sim, text)
    const first = read()
    await clock.run(1000)
    sim.kill()
    await clock.run(100)
    sim.start()
    sim.publish('answers/1', { tool: 'clock' }, 'tool')
    say(sim, 'time', 'other')
    await clock.until('it is open again', () => live.status.state === 'open')
    const second = read()
    const third = read('other')
    await clock.run(1000)
    say(sim, '.')
    sim.publish('answers/1', {}, 'end')
    say(sim, 'too late')
    await clock.run(2000)
    assert.deepEqual([(await first).join(''), (await second).join(''), await third], ['Once upon a time.(end)', 'Once upon a time.(end)', ['time', '(end)']])
    assert.equal((await first)[0], 'Once upon a ', 'what was there comes as one')
    live.close()
  })
}

test('a stream that fails throws what its producer said; one that is cancelled ends', async () => {
  const { clock, sim, live } = world({}, features('sse'))
  const read = async (topic: string): Promise<string> => {
    let text = ''
    for await (const part of live.topic(topic).text()) text += part
    return text
  }
  say(sim, 'half')
  sim.publish('answers/1', { message: 'the model is down' }, 'fail')
  sim.publish('answers/2', 'half', 'text', 'text')
  const fate = read('answers/1').catch((error: unknown) => error)
  const other = read('answers/2')
  await clock.run(1000)
  assert.deepEqual({ ...(await fate as object), message: (await fate as Error).message }, { name: 'TidewireError', code: 'failed', message: 'the model is down', next: 'give_up' })
  assert.equal(await live.topic('answers/2').cancel(), true)
  await clock.run(1000)
  assert.equal(await other, 'half')
  assert.deepEqual(sim.cancelled, ['answers/2'])
  assert.equal(await live.topic('answers/2').cancel(), false, 'it had ended')
  sim.admit = () => 'forbidden'
  await assert.rejects(live.topic('answers/3').cancel(), { name: 'TidewireError', code: 'forbidden' })
  live.close()
})

test('a loop over an answer ends with any of its ends, over anything else with `end`, and with those that it is told', async () => {
  const { clock, sim, live } = world({}, features('sse'))
  const read = async (topic: string, until?: string[]): Promise<string[]> => {
    const events: string[] = []
    for await (const { event } of live.topic(topic).events(until ? { until } : {}) as AsyncIterable<Entry>) events.push(event)
    return events
  }
  for (const topic of ['answers/1', 'board/1']) for (const event of ['a', 'cancel', 'b', 'end']) sim.publish(topic, 1, event)
  const loops = [read('answers/1'), read('board/1'), read('board/1', ['b', 'c'])]
  await clock.run(2000)
  assert.deepEqual(await Promise.all(loops), [['a', 'cancel'], ['a', 'cancel', 'b', 'end'], ['a', 'cancel', 'b']])
  live.close()
})

test('pages from the back, and on from there without a seam', async () => {
  const { clock, sim, live, hear } = world()
  for (const n of upTo(7)) sim.publish('board/a', n)
  const page = await live.topic('board/a').history({ last: 3 })
  assert.deepEqual([page.entries.map(({ data }) => data), page.earlier, page.cursor], [[4, 5, 6], true, 'k3f9.7'])
  const before = await live.topic('board/a').history({ last: 10, before: page.entries[0]!.id! })
  assert.deepEqual([before.entries.map(({ data }) => data), before.earlier], [[0, 1, 2, 3], false])
  sim.publish('board/a', 7)
  const heard = hear('board/a', { after: page.cursor })
  await clock.run(1000)
  sim.publish('board/a', 8)
  await clock.run(1000)
  assert.deepEqual(heard.data, [7, 8])
  live.close()
})

test('who leaves a view before its code has come is not called', async () => {
  const { clock, sim, live } = world({}, features('sse'))
  set(sim, 'cpu', 1)
  const latest = live.topic('stats/eu').latest()
  const heard: unknown[] = []
  const off = latest.on((_, change) => heard.push(change?.data))
  latest.on((_, change) => heard.push(change?.data))
  off()
  await clock.run(1000)
  assert.deepEqual(heard, [1])
  live.close()
})

test('a text that is joined late, beside topics that were quiet or busy before: nothing of it comes twice', async () => {
  const { clock, sim, live, hear } = world({}, (sim) => {
    features('sse')(sim)
    sim.latency = 30
  })
  const board = hear('board/a')
  await clock.run(1000)
  const reads = ['answers/1', 'answers/2'].map(async (topic) => {
    let text = ''
    for (let n = 0; n < 10; n++) sim.publish(topic, `${n} `, 'text', 'text')
    await clock.run(30)
    for await (const part of live.topic(topic).text()) text += part
    return text
  })
  for (let n = 10; n < 200; n++) {
    for (const topic of ['answers/1', 'answers/2']) sim.publish(topic, `${n} `, 'text', 'text')
    if (n % 10 === 0) sim.publish('board/a', n)
    if (n === 100) for (const stream of [...sim.streams]) stream.fail()
    await clock.run(20)
  }
  for (const topic of ['answers/1', 'answers/2']) sim.publish(topic, {}, 'end')
  await clock.run(5000)
  const whole = upTo(200).map((n) => `${n} `).join('')
  assert.deepEqual(await Promise.all(reads), [whole, whole])
  assert.equal(board.data.length, 19)
  await clock.run(5000)
  assert.equal(sim.streams.size, 1, 'their streams are closed')
  live.close()
})
