// Writes an answer, token by token, as a language model would: what the React example shows.
//
//   node examples/node/answer.mjs demo [http://127.0.0.1:4000] [ms between tokens]

import { setTimeout as wait } from 'node:timers/promises'
import { connect } from '@tidewire/client'

const [, , id = 'demo', url = 'http://127.0.0.1:4000', ms = '80'] = process.argv
const text = 'Every event gets a place in one log before anybody hears it. So a page that is reloaded in the middle of this sentence shows it whole.'

const live = connect(url)
const answer = live.topic(`answers/${id}`)
const tokens = text.split(/(?<= )/)
for (const token of tokens) {
  await answer.send('token', { text: token })
  await wait(Number(ms))
}
await answer.send('end', { tokens: tokens.length })
live.close()
