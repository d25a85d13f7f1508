// Where the page begins: signed in or not, and what is shown when something breaks.

import { Component, type ReactNode, useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { signedOut } from './api'
import { App, load } from './app'
import { themeOf, wear } from './shell'
import { SignIn } from './sign-in'
import { Mark } from './ui/icons'
import { session } from './window'

type Loaded = Awaited<ReturnType<typeof load>>

function Page() {
  const [isIn, setIn] = useState(() => session.get() !== null)
  const [loaded, setLoaded] = useState<Loaded>()
  const [error, setError] = useState<string>()
  const [turn, setTurn] = useState(0)
  signedOut.call = () => {
    session.clear()
    setLoaded(undefined)
    setIn(false)
  }
  useEffect(() => {
    if (!isIn) return
    let isOver = false
    setError(undefined)
    load().then((found) => !isOver && setLoaded(found), (thrown: unknown) => !isOver && setError((thrown as Error).message))
    return () => void (isOver = true)
  }, [isIn, turn])
  if (!isIn) return <SignIn done={() => setIn(true)} />
  if (loaded) return <App {...loaded} />
  if (error) return <Broken what={error} again={() => setTurn((turn) => turn + 1)} />
  return <main className="splash" aria-busy="true" aria-label="Loading Workboard"><Mark size={40} /></main>
}

function Broken({ what, again }: { what: string; again: () => void }) {
  return <main className="splash" role="alert"><Mark size={40} /><p>{what}</p><button type="button" className="button" onClick={again}>Try again</button></main>
}

class Boundary extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {}
  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error }
  }
  override render(): ReactNode {
    return this.state.error ? <Broken what={`Something in this page broke: ${this.state.error.message}`} again={() => location.reload()} /> : this.props.children
  }
}

wear(themeOf())
createRoot(document.getElementById('root')!).render(<Boundary><Page /></Boundary>)
