//! Failures on demand, for tests: the points at which [`super::files`] asks before it acts.
//!
//! Outside tests [`Faults`] has no size and its check no cost.

#[cfg(not(test))]
pub(super) use inert::Faults;
#[cfg(test)]
pub(super) use injected::Faults;

#[cfg(not(test))]
mod inert {
    /// Injects nothing.
    #[derive(Clone)]
    pub(in crate::store) struct Faults;

    impl Faults {
        /// No failures.
        pub(in crate::store) fn none() -> Faults {
            Faults
        }

        #[inline(always)]
        pub(in crate::store) fn check(&self, _: &'static str, _: &str) -> rustix::io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod injected {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use rustix::io::Errno;

    type Hook = Box<dyn FnMut(&'static str, &str) -> Option<Errno> + Send>;

    /// Asks a hook that a test has set whether an operation shall fail.
    #[derive(Clone)]
    pub(in crate::store) struct Faults(Arc<Mutex<Option<Hook>>>);

    impl Faults {
        /// No failures until a hook is set.
        pub(in crate::store) fn none() -> Faults {
            Faults(Arc::default())
        }

        /// From now on `hook(operation, file)` decides.
        pub(in crate::store) fn set(
            &self,
            hook: impl FnMut(&'static str, &str) -> Option<Errno> + Send + 'static,
        ) {
            *self.0.lock() = Some(Box::new(hook));
        }

        /// Nothing fails any more.
        pub(in crate::store) fn clear(&self) {
            *self.0.lock() = None;
        }

        pub(in crate::store) fn check(
            &self,
            operation: &'static str,
            file: &str,
        ) -> rustix::io::Result<()> {
            match self
                .0
                .lock()
                .as_mut()
                .and_then(|hook| hook(operation, file))
            {
                Some(errno) => Err(errno),
                None => Ok(()),
            }
        }
    }
}
