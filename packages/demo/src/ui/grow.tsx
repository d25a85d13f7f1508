// A text field that is as high as its text.

import { type ComponentProps, useLayoutEffect, useRef } from 'react'

export function Grow({ value, ...props }: ComponentProps<'textarea'> & { value: string }) {
  const ref = useRef<HTMLTextAreaElement>(null)
  useLayoutEffect(() => {
    const field = ref.current!
    field.style.height = 'auto'
    field.style.height = `${field.scrollHeight}px`
  }, [value])
  return <textarea ref={ref} rows={1} value={value} {...props} />
}
