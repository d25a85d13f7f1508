// A modal dialog: the browser's own, which keeps the focus in and gives it back.

import { type ReactNode, useEffect, useRef } from 'react'
import { Icon } from './icons'

export function Dialog({ label, className = '', onClose, children }: { label: string; className?: string; onClose: () => void; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const dialog = ref.current!
    const before = document.activeElement
    if (!dialog.open) dialog.showModal()
    // On the dialog itself: whoever opens a task wants to read it first.
    dialog.focus()
    return () => {
      dialog.close()
      if (before instanceof HTMLElement && before.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog ref={ref} tabIndex={-1} className={`dialog ${className}`} aria-label={label} onCancel={(event) => { event.preventDefault(); onClose() }} onMouseDown={(event) => event.target === ref.current && onClose()}>
      <div className="dialog-box">
        {children}
        <button type="button" className="button icon-only dialog-close" aria-label="Close" onClick={onClose}><Icon name="close" /></button>
      </div>
    </dialog>
  )
}
