//! What a command sees of the world outside: [`Io`]. Tests hand in their own.
//!
//! Invariant: commands that take an `Io` touch neither the process's streams, nor its environment,
//! nor the clock.

use std::{
    fmt,
    io::{BufRead, Write},
};

use tidewire::{
    config::Environment,
    tidewire_core::clock::{Clock, SystemClock},
};

/// Streams, environment and time.
pub(crate) struct Io<'a> {
    /// Where answers come from.
    pub(crate) input: &'a mut dyn BufRead,
    /// Where results go.
    pub(crate) output: &'a mut dyn Write,
    /// Where questions and warnings go, so that results can be piped.
    pub(crate) errors: &'a mut dyn Write,
    /// Variables that override the config.
    pub(crate) environment: Environment,
    /// The time, in milliseconds since 1970.
    pub(crate) now_ms: u64,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

/// Runs a command with the process's own streams, environment and clock.
pub(crate) fn with_process<R>(run: impl FnOnce(&mut Io<'_>) -> R) -> R {
    run(&mut Io {
        input: &mut std::io::stdin().lock(),
        output: &mut std::io::stdout().lock(),
        errors: &mut std::io::stderr().lock(),
        environment: Environment::of_process(),
        now_ms: SystemClock.now_ms(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a command wrote.
    pub(crate) struct Written {
        pub(crate) output: String,
        pub(crate) errors: String,
    }

    /// Runs a command on this input, at the beginning of 1970 plus a thousand seconds.
    pub(crate) fn with<R>(input: &str, run: impl FnOnce(&mut Io<'_>) -> R) -> (R, Written) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let result = run(&mut Io {
            input: &mut input.as_bytes(),
            output: &mut output,
            errors: &mut errors,
            environment: Environment::none(),
            now_ms: 1_000_000,
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (result, Written { output: text(output), errors: text(errors) })
    }
}
