// Who is at this window?

import { useEffect, useState } from 'react'
import { api } from './api'
import type { Person } from './things'
import { Avatar } from './ui/avatar'
import { Icon, Mark } from './ui/icons'
import { session } from './window'

export function SignIn({ done }: { done: () => void }) {
  const [people, setPeople] = useState<Person[]>()
  const [error, setError] = useState<string>()
  const [chosen, setChosen] = useState<string>()
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    setError(undefined)
    api.people().then(setPeople, (thrown: unknown) => setError((thrown as Error).message))
  }, [turn])
  const choose = (id: string): void => {
    setChosen(id)
    api.signIn(id).then(({ session: token }) => {
      session.set(token)
      done()
    }, (thrown: unknown) => {
      setChosen(undefined)
      setError((thrown as Error).message)
    })
  }
  return (
    <main className="sign-in">
      <div className="sign-in-box">
        <Mark size={40} />
        <h1>Who are you in this window?</h1>
        <p className="soft">Open a second window and be somebody else there: tasks, chat, pointers and notes are shared between them.</p>
        {error && <div className="notice" role="alert"><p>{error}</p><button type="button" className="button small" onClick={() => setTurn((turn) => turn + 1)}>Try again</button></div>}
        <ul className="people">
          {people
            ? people.map((person) => (
              <li key={person.id}><button type="button" disabled={Boolean(chosen)} aria-busy={chosen === person.id} onClick={() => choose(person.id)}><Avatar person={person} size={40} quiet /><span><b>{person.name}</b><span className="soft">{person.role}</span></span><Icon name="arrow" /></button></li>
            ))
            : !error && Array.from({ length: 6 }, (_, n) => <li key={n} aria-hidden="true"><span className="skeleton person" /></li>)}
        </ul>
        <p className="sign-in-foot">Workboard is the demo of Tidewire. No password, nothing leaves this machine.</p>
      </div>
    </main>
  )
}
