import './connect.js'
export const presence = (...x: unknown[]): void => void x
