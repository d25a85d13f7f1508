// The names that both sides agree on: a chat's topic, and below it one for each of its answers.

/** Any id as a segment of a topic: what the alphabet lacks stands percent-encoded. */
const segment = (id: string): string => {
  const encoded = encodeURIComponent(id)
    .replace(/%(3A|40)/g, decodeURIComponent)
    .replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
  if (/^\.{0,2}$/.test(encoded)) throw new TypeError(`no id for a topic: "${id}"`)
  return encoded
}

/** Where the answers of a chat are announced. */
export const chatTopic = (chatId: string, feature = 'answers'): string => `${feature}/${segment(chatId)}`

/** The topic of one answer, a new one each time. */
export const answerTopic = (chatId: string, answerId: string = crypto.randomUUID(), feature = 'answers'): string => `${chatTopic(chatId, feature)}/${segment(answerId)}`

/** The event that announces an answer on its chat's topic; its data are `{ topic }`. */
export const ANNOUNCED = 'answer'
