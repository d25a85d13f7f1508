// What Workboard is about, as its server gives it. Types, and nothing that runs.

export interface Person { id: string; name: string; initials: string; color: string; role: string }
export interface Column { id: string; name: string; done?: boolean }
export interface Board { id: string; name: string; columns: Column[] }

export interface Task {
  id: number
  board: string
  column: string
  order: number
  title: string
  description: string
  assignee: string | null
  /** `YYYY-MM-DD`. */
  due: string | null
  labels: string[]
  version: number
  created_by: string
  created_at: number
  updated_by: string
  updated_at: number
  /** How many. */
  comments: number
}

export interface Comment { id: number; task: number; by: string; text: string; at: number }

export interface Conversation {
  id: string
  topic: string
  board: string
  person: string
  question: string
  state: 'writing' | 'end' | 'cancel' | 'fail'
  /** Empty while it is being written: the topic has it. */
  text: string
  at: number
}

export type Named = { id: number; board: string; title: string }
export type Notice =
  | { event: 'task.assigned'; data: { task: Named; by: string; at: number } }
  | { event: 'mentioned'; data: { by: string; at: number; where: 'task' | 'comment' | 'chat'; task?: Named; board: string; text: string } }
export type NoticeEntry = Notice & { id: string; at_ms?: number }

/** What travels through Tidewire: feature, event, data. */
export type App = {
  board: {
    'task.created': Task & { by: string }
    'task.changed': Task & { by: string }
    'task.moved': Task & { by: string }
    'task.deleted': { id: number; board: string; by: string }
    'task.commented': { task: number; comment: Comment; comments: number; by: string }
  }
  notifications: { [N in Notice as N['event']]: N['data'] }
  chat: { message: { by: string; text: string; at?: number }; probe: Probe }
  pointers: { at: Pointing; typing: { by: string } }
  docs: Record<string, unknown>
  answers: { text: string; end: object; cancel: { by: string | null }; fail: { message: string }; probe: Probe }
  stats: { count: Count }
}

/** A numbered message that a window sends to itself, to count what came. */
export interface Probe { run: string; n: number }

/** Where somebody points: on a task or in a column, as parts of its width and height, so that it is the same thing on every screen. */
export interface Pointing { by: string; on: { task: number } | { column: string } | null; x: number; y: number }

export type Count =
  | { kind: 'total'; open: number; done: number }
  | { kind: 'column'; column: string; tasks: number }
  | { kind: 'person'; person: string | null; open: number; done: number }
