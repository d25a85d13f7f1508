// The connection of this window, typed by what Workboard carries, and the hooks on it.

import { connect, type Live } from '@tidewire/client'
import { hooks } from '@tidewire/react'
import type { Tap } from './tap'
import type { App } from './things'
import { session } from './window'

/** Each window is to be a client of its own here, so that one can be hurt while another looks on: hence no sharing between tabs. */
export const open = (tap: Tap): Live<App> => connect<App>(location.origin, { token: () => session.get() ?? '', share: false, env: tap.env })

export const { Tidewire, useLive, useTopic, useStatus, useSend } = hooks<App>()
