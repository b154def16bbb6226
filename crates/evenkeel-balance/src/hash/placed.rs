//! What all policies share that hold a placement and a chooser: written once.

/// The rest of a policy with the field `chooser`: how it answers as [`Placement`](crate::hash::Placement), which is the field
/// `$table`, and as [`Policy`](crate::Policy). Its `updated` makes successors, `always` or `fallible`. `$wants` is what it
/// makes of what the chooser wants.
macro_rules! placed {
    ($policy:ident, $table:ident, $updated:ident) => {
        crate::hash::placed::placed!($policy, $table, $updated, |wants| wants);
    };
    ($policy:ident, $table:ident, $updated:ident, $wants:expr) => {
        impl $policy {
            /// The first `count` distinct positions of positive weight for a hash, in the order in which the key would move:
            /// where its replicas live. Whoever is usable; fewer only if fewer have a positive weight.
            #[must_use]
            pub fn replicas(&self, hash: u64, count: usize) -> Vec<usize> {
                self.chooser.replicas(&self.$table, hash, count)
            }
        }

        impl crate::hash::Placement for $policy {
            fn len(&self) -> usize {
                crate::hash::Placement::len(&self.$table)
            }

            #[inline]
            fn home(&self, hash: u64) -> Option<crate::hash::Candidate> {
                self.$table.home(hash)
            }

            #[inline]
            fn next(&self, hash: u64, step: u32, last: crate::hash::Candidate) -> crate::hash::Candidate {
                self.$table.next(hash, step, last)
            }
        }

        impl crate::Policy for $policy {
            fn pick(&self, view: &dyn crate::View, caller: &mut dyn crate::Caller) -> Option<usize> {
                self.choose(view, caller)
            }

            fn wants(&self) -> crate::Wants {
                let wants: fn(crate::Wants) -> crate::Wants = $wants;
                wants(self.chooser.wants())
            }

            fn on_event(&self, event: crate::Event) {
                self.chooser.on_event(event);
            }

            fn rebuild(
                &self,
                members: &dyn crate::Members,
            ) -> Result<Option<std::sync::Arc<dyn crate::Policy>>, crate::InvalidPolicy> {
                let new = crate::hash::placed::placed!(@$updated self.updated(members));
                Ok(Some(std::sync::Arc::new(new)))
            }
        }
    };
    (@always $new:expr) => {
        $new
    };
    (@fallible $new:expr) => {
        $new?
    };
}

/// The same with a plain choice: the chooser's.
macro_rules! placed_and_chosen {
    ($policy:ident, $table:ident, $updated:ident) => {
        impl $policy {
            /// An open position, or `None` if none is open.
            #[inline]
            pub fn choose<V, C>(&self, view: &V, caller: &mut C) -> Option<usize>
            where
                V: crate::View + ?Sized,
                C: crate::Caller + ?Sized,
            {
                self.chooser.choose(&self.$table, view, caller)
            }
        }

        crate::hash::placed::placed!($policy, $table, $updated);
    };
}

pub(super) use {placed, placed_and_chosen};
