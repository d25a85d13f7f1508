// The AI SDK's `useChat` over Tidewire: an answer is a topic, so a reload, a second device and a stop
// are nothing special. What the app's server needs is in `@tidewire/ai-sdk/server`.

export { TidewireTransport, tidewireTransport, type TransportOptions } from './transport.js'
export { answerTopic, chatTopic } from './topic.js'
