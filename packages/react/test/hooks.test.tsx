// The hooks one by one, on a `Live` without a network: what they show and what goes over the wire.

import assert from 'node:assert/strict'
import test from 'node:test'
import { Component, type ReactNode, useState } from 'react'
import type { Gap, Meta, TopicOptions } from '@tidewire/client'
import { hooks } from '../src/index.js'
import type { App } from './app.js'
import { after, mount, page, until } from './dom.js'
import { FakeLive } from './fake.js'

page()
const { Tidewire, useLatest, useLive, useSend, useStatus, useTopic } = hooks<App>()

test('useTopic hears its event, and the newest listener is the one that is called', async () => {
  const live = new FakeLive()
  const heard: string[] = []
  const Room = ({ as }: { as: string }) => {
    useTopic('chat/general', 'message', ({ text }, { id }: Meta) => heard.push(`${as} ${text} ${id}`))
    return null
  }
  const at = await mount(<Tidewire live={live}><Room as="one" /></Tidewire>)
  live.publish('chat/general', 'message', { text: 'a' })
  live.publish('chat/general', 'typing', { who: 'x' })
  await at.render(<Tidewire live={live}><Room as="two" /></Tidewire>)
  live.publish('chat/general', 'message', { text: 'b' })
  assert.deepEqual(heard, ['one a e.1', 'two b e.3'])
  assert.deepEqual(live.wire, ['subscribe chat/general now'], 'a new listener is no new subscription')

  await at.unmount()
  live.publish('chat/general', 'message', { text: 'c' })
  assert.equal(heard.length, 2)
  await until('it is unsubscribed', () => live.wire.at(-1) === 'unsubscribe chat/general')
})

test('useTopic follows its topic, and waits for one', async () => {
  const live = new FakeLive()
  const heard: string[] = []
  const Room = ({ room }: { room?: string }) => {
    useTopic(room ? `chat/${room}` : null, '*', (_, { topic, event }) => heard.push(`${topic} ${event}`))
    return null
  }
  const at = await mount(<Tidewire live={live}><Room /></Tidewire>)
  assert.deepEqual(live.wire, [])
  await at.render(<Tidewire live={live}><Room room="a" /></Tidewire>)
  await at.render(<Tidewire live={live}><Room room="b" /></Tidewire>)
  live.publish('chat/a', 'message', { text: '' })
  live.publish('chat/b', 'typing', { who: '' })
  assert.deepEqual(heard, ['chat/b typing'])
  await until('the first topic is left', () => live.wire.includes('unsubscribe chat/a'))
})

test('a listener that throws breaks nothing', async () => {
  const live = new FakeLive()
  const heard: string[] = []
  const Room = () => {
    useTopic('chat/general', 'message', () => {
      throw new Error('mine')
    })
    useTopic('chat/general', 'message', ({ text }) => heard.push(text))
    return <>fine</>
  }
  const at = await mount(<Tidewire live={live}><Room /></Tidewire>)
  await after(() => live.publish('chat/general', 'message', { text: 'a' }))
  await after(() => live.publish('chat/general', 'message', { text: 'b' }))
  assert.deepEqual(heard, ['a', 'b'])
  assert.equal(live.errors.length, 2, 'the client is told of both')
  assert.equal(at.text, 'fine')
})

test('StrictMode makes no second subscription', async () => {
  const live = new FakeLive()
  const heard: string[] = []
  const Room = () => {
    useTopic('chat/general', 'message', ({ text }) => heard.push(text))
    const latest = useLatest('chat/general', 'typing')
    return <>{latest?.who}</>
  }
  const at = await mount(<Tidewire live={live}><Room /></Tidewire>, { strict: true })
  await after(() => live.publish('chat/general', 'message', { text: 'once' }))
  await after(() => live.publish('chat/general', 'typing', { who: 'Ana' }))
  assert.deepEqual(heard, ['once'])
  assert.equal(at.text, 'Ana')
  assert.deepEqual(live.wire, ['subscribe chat/general now'])
  assert.equal(live.readers('chat/general'), 2)
})

test('leaving and coming back within the linger is no traffic', async () => {
  const live = new FakeLive(200)
  const Room = () => {
    useTopic('chat/general', 'message', () => {})
    return <>{useLatest('chat/general', 'message', { text: 'nothing yet' }).text}</>
  }
  const at = await mount(<Tidewire live={live}><Room /></Tidewire>)
  await at.render(<Tidewire live={live}>elsewhere</Tidewire>)
  await until('the hooks have left', () => live.readers('chat/general') === 0)
  await at.render(<Tidewire live={live}><Room /></Tidewire>)
  await after(() => live.publish('chat/general', 'message', { text: 'hi' }))
  assert.equal(at.text, 'hi')
  await after(() => new Promise((resolve) => setTimeout(resolve, live.lingerMs)))
  assert.deepEqual(live.wire, ['subscribe chat/general now'])
})

test('the options of a topic are passed on: where to begin, and what to do about a gap', async () => {
  const live = new FakeLive()
  const gaps: string[] = []
  const texts: string[] = []
  live.publish('chat/general', 'message', { text: 'before' })
  const cursor = live.publish('chat/general', 'message', { text: 'the page knows' })
  live.publish('chat/general', 'message', { text: 'missed' })
  const Room = ({ as }: { as: string }) => {
    const options: TopicOptions = { after: cursor, load: ({ reason }: Gap) => gaps.push(`${as} ${reason}`) }
    useTopic('chat/general', 'message', ({ text }) => texts.push(text), options)
    return null
  }
  const at = await mount(<Tidewire live={live}><Room as="one" /></Tidewire>)
  await at.render(<Tidewire live={live}><Room as="two" /></Tidewire>)
  assert.deepEqual(texts, ['missed'])
  await after(() => live.gap('chat/general'))
  assert.deepEqual(gaps, ['two trimmed'])
})

test('useTopic hears seams and refusals', async () => {
  const live = new FakeLive()
  const heard: string[] = []
  const Room = () => {
    useTopic('chat/general', 'tidewire.seam', ({ continuity }) => heard.push(continuity))
    useTopic('chat/general', 'tidewire.refused', ({ code }) => heard.push(code))
    return null
  }
  await mount(<Tidewire live={live}><Room /></Tidewire>)
  await after(() => live.gap('chat/general'))
  await after(() => live.refuse('chat/general', { code: 'forbidden', message: 'no', next: 'give_up' }))
  assert.deepEqual(heard, ['new', 'gap', 'forbidden'])
})

test('useLatest shows the newest, and begins anew with another topic', async () => {
  const live = new FakeLive()
  const Room = ({ room }: { room: string }) => <>{useLatest(`chat/${room}`, 'message', { text: 'initial' }).text}</>
  const at = await mount(<Tidewire live={live}><Room room="a" /></Tidewire>)
  assert.equal(at.text, 'initial')
  await after(() => live.publish('chat/a', 'message', { text: 'first' }))
  await after(() => live.publish('chat/a', 'message', { text: 'second' }))
  assert.equal(at.text, 'second')
  await at.render(<Tidewire live={live}><Room room="b" /></Tidewire>)
  assert.equal(at.text, 'initial')
  await after(() => live.publish('chat/a', 'message', { text: 'third' }))
  assert.equal(at.text, 'initial')
})

test('useLatest of a topic alone: its values by item, and each change', async () => {
  const live = new FakeLive()
  live.publish('tasks/7', 'changed', { id: 1, title: 'one' }, 'a')
  const Values = ({ topic }: { topic: 'tasks/7' | null }) => <>{[...useLatest(topic)].map(([item, data]) => `${item}=${data.title}`).join(' ')}</>
  const at = await mount(<Tidewire live={live}><Values topic="tasks/7" /></Tidewire>, { strict: true })
  assert.equal(at.text, 'a=one')
  await after(() => live.publish('tasks/7', 'changed', { id: 2, title: 'two' }, 'b'))
  assert.equal(at.text, 'a=one b=two')
  await after(() => live.publish('tasks/7', 'changed', null, 'a'))
  assert.equal(at.text, 'b=two')
  assert.deepEqual(live.wire, ['subscribe tasks/7 start'])
  await at.render(<Tidewire live={live}><Values topic={null} /></Tidewire>)
  assert.equal(at.text, '')
})

test('useStatus shows each change', async () => {
  const live = new FakeLive()
  const Badge = () => {
    const { state, retryInMs } = useStatus()
    return <>{state} {retryInMs}</>
  }
  const at = await mount(<Tidewire live={live}><Badge /></Tidewire>)
  assert.equal(at.text, 'idle ')
  await after(() => live.is({ state: 'waiting', retryInMs: 1200 }))
  assert.equal(at.text, 'waiting 1200')
})

test('useSend is one function for a topic, and says where there is none', async () => {
  const live = new FakeLive()
  const sends = new Set<unknown>()
  let send!: ReturnType<typeof useSend<'chat/a'>>
  const Form = ({ topic }: { topic: 'chat/a' | null }) => {
    send = useSend(topic)
    sends.add(send)
    const [, again] = useState(0)
    return <button onClick={() => again((n) => n + 1)} />
  }
  const at = await mount(<Tidewire live={live}><Form topic="chat/a" /></Tidewire>)
  await at.render(<Tidewire live={live}><Form topic="chat/a" /></Tidewire>)
  assert.equal(sends.size, 1)
  assert.deepEqual(await send('message', { text: 'hi' }), { id: 'e.1', stored: 'memory' })
  await at.render(<Tidewire live={live}><Form topic={null} /></Tidewire>)
  await assert.rejects(send('message', { text: 'hi' }), /no topic/)
})

test('hooks(live) need no provider, and a provider below them wins', async () => {
  const [own, other] = [new FakeLive(), new FakeLive()]
  const bound = hooks<App>(own)
  const Who = () => <>{bound.useLive() === own ? 'own ' : 'other '}</>
  const at = await mount(<><Who /><bound.Tidewire live={other}><Who /></bound.Tidewire></>)
  assert.equal(at.text, 'own other ')
})

test('without any connection the error says what to do', async () => {
  class Boundary extends Component<{ children: ReactNode }> {
    override state = { message: '' }
    static getDerivedStateFromError = ({ message }: Error) => ({ message })
    override render = () => this.state.message || this.props.children
  }
  const Lost = () => <>{useLive() && 'found'}</>
  const { error } = console
  console.error = () => {}
  const at = await mount(<Boundary><Lost /></Boundary>).finally(() => (console.error = error))
  assert.match(at.text, /give hooks\(\) one, or put <Tidewire/)
})
