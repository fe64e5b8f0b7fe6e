//! Deliberate faults, for the test of the tests.
//!
//! A harness that never failed has shown nothing. So parts of the program can be made to go wrong:
//! [`faults!`](crate::faults) declares the ways in which one can, as an enum, and beside it a
//! function `on`, which the places that can go wrong ask. A fault is on within its `with`, on that
//! thread; none is otherwise, and at most one at a time, of whatever part.
//!
//! All this is there only with the feature `faults`, which nothing turns on but the
//! dev-dependencies, in whatever profile. Without it `on` is a constant, and nothing is left of the
//! faults. Benchmarks are built as tests are: there a question costs a read of a thread-local.

/// Declares the faults of a part of a crate, in a module of their own. The crate has a feature
/// `faults`, which turns on leveret's.
#[doc(hidden)]
#[macro_export]
macro_rules! faults {
    (
        $(#[$about:meta])+
        pub enum $faults:ident {
            $($(#[$doc:meta])+ $fault:ident,)+
        }
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(not(feature = "faults"), expect(
            unreachable_pub,
            reason = "the tests' feature makes it public"
        ))]
        pub enum $faults {
            $($(#[$doc])+ $fault,)+
        }

        #[cfg(feature = "faults")]
        impl $faults {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)+];

            /// Has something done with this fault, on this thread, until it returns or panics.
            ///
            /// # Panics
            /// If one is on already.
            pub fn with<T>(self, act: impl FnOnce() -> T) -> T {
                $crate::fault::with($crate::fault::Id::of::<Self>(self as usize), act)
            }

            /// The fault that is on, on this thread.
            pub fn current() -> Option<Self> {
                Self::ALL.iter().copied().find(|fault| on(*fault))
            }
        }

        /// Whether a fault is on, on this thread.
        #[cfg(feature = "faults")]
        pub(super) fn on(fault: $faults) -> bool {
            $crate::fault::is_on($crate::fault::Id::of::<$faults>(fault as usize))
        }

        #[cfg(not(feature = "faults"))]
        pub(super) const fn on(_: $faults) -> bool {
            false
        }
    };
}

#[cfg(feature = "faults")]
pub use switch::{Id, is_on, with};

#[cfg(feature = "faults")]
mod switch {
    use std::any::TypeId;
    use std::cell::Cell;

    /// One fault of all there are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Id {
        /// The enum that declares it.
        faults: TypeId,
        /// Its place there.
        number: usize,
    }

    impl Id {
        /// The fault of this number of an enum.
        #[inline]
        pub fn of<Faults: 'static>(number: usize) -> Self {
            Self {
                faults: TypeId::of::<Faults>(),
                number,
            }
        }
    }

    thread_local! {
        static ON: Cell<Option<Id>> = const { Cell::new(None) };
    }

    /// Whether a fault is on, on this thread.
    #[inline]
    pub fn is_on(fault: Id) -> bool {
        ON.get() == Some(fault)
    }

    /// Has something done with a fault, on this thread, until it returns or panics.
    ///
    /// # Panics
    /// If one is on already.
    pub fn with<T>(fault: Id, act: impl FnOnce() -> T) -> T {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(None);
            }
        }
        assert_eq!(ON.get(), None, "one fault at a time");
        ON.set(Some(fault));
        let _off = Off;
        act()
    }
}
