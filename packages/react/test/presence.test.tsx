// usePresence: who is here, and this client with them for as long as a component is there.

import assert from 'node:assert/strict'
import test from 'node:test'
import { hooks } from '../src/index.js'
import { type Here, presence } from '../src/presence.js'
import type { App } from './app.js'
import { after, mount, page, until } from './dom.js'
import { FakeLive } from './fake.js'

page()
const { Tidewire, useLive } = hooks<App>()
const usePresence = presence(useLive)

interface Person {
  name: string
}
let shown: Here<Person>
const Room = ({ room = 'a', name }: { room?: string | null; name?: string }) => {
  shown = usePresence<Person>(room && (`chat/${room}` as 'chat/a'), name === undefined ? undefined : { name })
  return <>{shown.members.map(({ state, isMe }) => `${state.name}${isMe ? '*' : ''}`).join(' ')}</>
}
const view = (live: FakeLive, props: Parameters<typeof Room>[0] = {}) => <Tidewire live={live}><Room {...props} /></Tidewire>

test('it shows who comes, changes and goes', async () => {
  const live = new FakeLive()
  live.member('chat/a', 'm1', { name: 'Ana' }, 'ana')
  const at = await mount(view(live))
  assert.equal(at.text, 'Ana')
  await after(() => live.member('chat/a', 'm2', { name: 'Bo' }, 'bo'))
  await after(() => live.member('chat/a', 'm3', { name: 'Ana again' }, 'ana'))
  assert.equal(at.text, 'Ana Bo Ana again')
  assert.deepEqual(shown.users.map(({ user, members }) => [user, members.length]), [['ana', 2], ['bo', 1]])
  await after(() => live.member('chat/a', 'm1'))
  assert.equal(at.text, 'Bo Ana again')
  assert.deepEqual(live.wire, ['watch chat/a'], 'who only looks does not enter')
})

test('with a state this client is here, in StrictMode once, and leaves with the component', async () => {
  const live = new FakeLive()
  const at = await mount(view(live, { name: 'me' }), { strict: true })
  assert.equal(at.text, 'me*')
  await at.render(view(live, { name: 'me' }))
  await at.render(view(live, { name: 'myself' }))
  assert.equal(at.text, 'myself*')
  await after(() => shown.set({ name: 'typing' }))
  assert.equal(at.text, 'typing*')
  await at.render(view(live, { name: 'myself' }))
  assert.equal(at.text, 'typing*', 'the same state as before says nothing new')
  await at.unmount()
  await until('it has left', () => live.here.get('chat/a')?.length === 0)
  assert.deepEqual(live.wire, ['watch chat/a', 'enter chat/a {"name":"me"}', 'enter chat/a {"name":"myself"}', 'enter chat/a {"name":"typing"}', 'leave chat/a'])
})

test('a state that comes later enters; another topic is another room, and none is none', async () => {
  const live = new FakeLive()
  const at = await mount(view(live))
  await at.render(view(live, { name: 'me' }))
  assert.equal(at.text, 'me*')
  await at.render(view(live, { name: 'me', room: 'b' }))
  await until('the first is left', () => live.here.get('chat/a')?.length === 0)
  assert.equal(at.text, 'me*')
  assert.deepEqual(live.here.get('chat/b')?.length, 1)
  await at.render(view(live, { name: 'me', room: null }))
  assert.equal(at.text, '')
  await until('and the second', () => live.here.get('chat/b')?.length === 0)
})
