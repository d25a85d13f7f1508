// A text field that is as high as its text.

import { type ComponentProps, useLayoutEffect, useRef } from 'react'

export function Grow({ value, ...props }: ComponentProps<'textarea'> & { value: string }) {
  const ref = useRef<HTMLTextAreaElement>(null)
  useLayoutEffect(() => fit(ref.current!), [value])
  // What is not shown yet has no height, and another width breaks lines elsewhere.
  useLayoutEffect(() => {
    const field = ref.current!
    let width = 0
    const observer = new ResizeObserver(() => {
      if (field.offsetWidth === width) return
      width = field.offsetWidth
      fit(field)
    })
    observer.observe(field)
    return () => observer.disconnect()
  }, [])
  return <textarea ref={ref} rows={1} value={value} {...props} />
}

function fit(field: HTMLTextAreaElement): void {
  field.style.height = 'auto'
  if (field.scrollHeight) field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`
}
