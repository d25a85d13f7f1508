// The contract that the tests speak of.

export type App = {
  chat: { message: { text: string }; typing: { who: string } }
  tasks: { changed: { id: number; title: string } }
  answers: { token: { text: string }; end: { tokens: number } }
}
