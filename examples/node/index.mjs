// Subscribe, send, and read a stream that ends, in Node 20 or newer.
//
//   node examples/node/index.mjs [http://127.0.0.1:4000]

import { connect, TidewireError } from '@tidewire/client'

const live = connect(process.argv[2] ?? 'http://127.0.0.1:4000')
live.on('status', ({ state, transport = '', why }) => console.log('status ', state, transport, `(${why})`))

// Events, as they come.
const chat = live.topic('chat/general')
const heard = new Promise((done) => {
  chat.on('message', (data, { id }) => {
    console.log('heard  ', data, id)
    done()
  })
})
// What is sent before the subscription stands is not heard: it begins now.
await new Promise((done) => chat.on('tidewire.seam', done))

// Resolves when the log has it, and says how safely.
console.log('sent   ', await chat.send('message', { text: 'hi from Node' }))
await heard

// A page of what is kept.
const { entries, more } = await chat.history({ limit: 10 })
console.log('history', entries.length, more ? 'and more' : 'in all')

// A stream that ends, as a loop.
const answer = live.topic(`answers/${crypto.randomUUID()}`)
for (const text of ['Once ', 'upon ', 'a ', 'time']) await answer.send('token', { text })
await answer.send('end', { tokens: 4 })
for await (const { event, data } of answer.events()) console.log('stream ', event, data)

// A refusal has a code of the protocol's table, and says what helps.
try {
  await chat.send('tidewire.mine', {})
} catch (error) {
  if (!(error instanceof TidewireError)) throw error
  console.log('refused', error.code, error.next)
}

live.close()
