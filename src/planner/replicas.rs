//! How many pods each ReplicaSet shall have: pure arithmetic with the worked examples of the
//! contract (S8–S11, R1–R24) as its tests. Knows no object, only counts.

use super::spec::Bound;

/// Weights are percent.
pub const MAX_WEIGHT: u32 = 100;

/// Surge and unavailability in pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Pods allowed above `spec.replicas`.
    pub surge: u32,
    /// Pods allowed to be missing from `spec.replicas`.
    pub unavailable: u32,
}

impl Fence {
    /// Most pods in all: `replicas + maxSurge`.
    pub fn ceiling(self, replicas: u32) -> u32 {
        replicas.saturating_add(self.surge)
    }

    /// Fewest available pods: `replicas - maxUnavailable`.
    pub fn floor(self, replicas: u32) -> u32 {
        replicas.saturating_sub(self.unavailable)
    }
}

/// Resolves the bounds against the replicas: surge rounds up, unavailability rounds down; where
/// both come out as 0 one pod may be missing, or nothing could ever move (S9, as Deployments do).
/// Example: 25 % and 25 % of 10 are (3, 2); of 1 to 3 they are (1, 0).
pub fn fenceposts(replicas: u32, surge: Bound, unavailable: Bound) -> Fence {
    let surge = match surge {
        Bound::Pods(n) => n,
        Bound::Percent(p) => percent_up(replicas, p),
    };
    let missing = match unavailable {
        Bound::Pods(n) => n,
        Bound::Percent(p) => percent_down(replicas, p),
    };
    let missing = if surge == 0 && missing == 0 {
        1
    } else {
        missing
    };
    Fence {
        surge,
        unavailable: missing.min(replicas),
    }
}

fn percent_down(n: u32, percent: u32) -> u32 {
    let exact = u64::from(n).saturating_mul(u64::from(percent));
    u32::try_from(exact.checked_div(100).unwrap_or(0)).unwrap_or(u32::MAX)
}

fn percent_up(n: u32, percent: u32) -> u32 {
    let exact = u64::from(n).saturating_mul(u64::from(percent));
    u32::try_from(exact.div_ceil(100)).unwrap_or(u32::MAX)
}

/// Wanted sizes of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Pods of the new revision.
    pub canary: u32,
    /// Pods of the stable revision.
    pub stable: u32,
}

impl Pair {
    /// The weight that these counts really give, in percent, rounded to the nearest; `None` without pods.
    pub fn weight(self) -> Option<u32> {
        let total = u64::from(self.canary).saturating_add(u64::from(self.stable));
        let twice = u64::from(self.canary)
            .saturating_mul(200)
            .saturating_add(total);
        twice
            .checked_div(total.saturating_mul(2))
            .and_then(|w| u32::try_from(w).ok())
    }
}

/// Sizes that come nearest to `weight` percent of `replicas` (S10). One pod more than `replicas`
/// may be used where surge allows it; with two pods or more a weight between 1 and 99 leaves no
/// side empty. Ties go to the first candidate: fewer pods, more canary.
/// Example: 2 replicas at weight 10 with surge are (1, 2); 6 at 45 are (3, 4).
pub fn weighted_counts(replicas: u32, weight: u32, surge: u32) -> Pair {
    let weight = weight.min(MAX_WEIGHT);
    if replicas == 0 {
        return Pair {
            canary: 0,
            stable: 0,
        };
    }
    let may_empty = weight == 0 || weight == MAX_WEIGHT || (replicas == 1 && surge == 0);
    let mut best: Option<Candidate> = None;
    let totals = [
        Some(replicas),
        (surge > 0).then_some(replicas.saturating_add(1)),
    ];
    for total in totals.into_iter().flatten() {
        for candidate in candidates(total, weight, may_empty).into_iter().flatten() {
            if best.is_none_or(|b| candidate.is_nearer_than(b, weight)) {
                best = Some(candidate);
            }
        }
    }
    // Nothing fits only without surge and half a pod short of all: one stable pod stays (the peer
    // would leave the canary at 0 there, so that the step never completes).
    let chosen = best.unwrap_or(Candidate {
        canary: replicas.saturating_sub(1),
        total: replicas,
    });
    Pair {
        canary: chosen.canary,
        stable: chosen.total.saturating_sub(chosen.canary),
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    canary: u32,
    total: u32,
}

impl Candidate {
    /// `|canary/total - weight|` scaled by total, so that comparing needs no fractions.
    fn distance(self, weight: u32) -> u128 {
        let share = u128::from(self.canary).saturating_mul(u128::from(MAX_WEIGHT));
        let wanted = u128::from(weight).saturating_mul(u128::from(self.total));
        share.abs_diff(wanted)
    }

    fn is_nearer_than(self, other: Self, weight: u32) -> bool {
        let mine = self
            .distance(weight)
            .saturating_mul(u128::from(other.total));
        let theirs = other
            .distance(weight)
            .saturating_mul(u128::from(self.total));
        mine < theirs
    }
}

/// Rounded up and rounded down, where they may be used.
fn candidates(total: u32, weight: u32, may_empty: bool) -> [Option<Candidate>; 2] {
    let share = u64::from(total).saturating_mul(u64::from(weight));
    let max = u64::from(MAX_WEIGHT);
    let up = u32::try_from(share.div_ceil(max)).unwrap_or(u32::MAX);
    let down = u32::try_from(share.checked_div(max).unwrap_or(0)).unwrap_or(u32::MAX);
    let is_half = share.checked_rem(max).unwrap_or(0).saturating_mul(2) == max;
    [
        (up < total || may_empty).then_some(Candidate { canary: up, total }),
        (!is_half && (down != 0 || may_empty)).then_some(Candidate {
            canary: down,
            total,
        }),
    ]
}

/// One ReplicaSet's size as it is: asked for and available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// `spec.replicas`.
    pub spec: u32,
    /// `status.availableReplicas`.
    pub available: u32,
}

impl Size {
    /// Available pods that this size will keep.
    fn counted(self) -> u32 {
        self.available.min(self.spec)
    }
}

/// The sizes before a move.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// `spec.replicas` of the Rollout.
    pub replicas: u32,
    /// Resolved bounds.
    pub fence: Fence,
    /// The new revision.
    pub canary: Size,
    /// The stable revision, where it is another one than the canary.
    pub stable: Option<Size>,
    /// All others, oldest first.
    pub older: Vec<Size>,
    /// Nothing has got on for a while: stable may be broken, see [`give_way`].
    pub is_stuck: bool,
}

/// What is to be resized now. One group at a time: stable, then canary, then the older ones, so
/// that each next move rests on what the last one really did (A25, S11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Everything has its size.
    Settled,
    /// Nothing may move until more pods are available.
    Wait,
    /// New size of the stable ReplicaSet.
    Stable(u32),
    /// New size of the canary ReplicaSet.
    Canary(u32),
    /// New sizes of the older ReplicaSets, in the order given.
    Older(Vec<u32>),
}

/// The next move towards `target`, never above the ceiling and never below the floor by our act
/// (S11). Growth first, then the draining side gives what the growing side has available beyond
/// the floor; the older ReplicaSets are drained before either side shrinks.
/// Example (R15): 4 replicas, surge 1, unavailable 0, to (4, 0): c1, s3, c2, s2, c3, s1, c4, s0.
pub fn next_move(sizes: &Sizes, target: Pair) -> Move {
    let wanted = two_sides(sizes, target);
    if let Some(stable) = sizes.stable
        && wanted.stable != stable.spec
    {
        return Move::Stable(wanted.stable);
    }
    if wanted.canary != sizes.canary.spec {
        return Move::Canary(wanted.canary);
    }
    let older = drain_older(sizes);
    let changed = older
        .iter()
        .zip(&sizes.older)
        .any(|(new, old)| *new != old.spec);
    if changed {
        return Move::Older(older);
    }
    let stable_done = sizes.stable.is_none_or(|s| s.spec == target.stable);
    let older_done = sizes.older.iter().all(|s| s.spec == 0);
    if stable_done && older_done && sizes.canary.spec == target.canary {
        return Move::Settled;
    }
    give_way(sizes, target).map_or(Move::Wait, Move::Stable)
}

/// Nothing has moved for a while, older pods hold the floor, and the canary wants more: pods of stable that are
/// not available take places and carry nothing, so they give way. A broken stable version never
/// holds a good canary.
/// Example: 4 replicas, surge 1, stable 2 of which 0 are available, older 2, canary 1 that wants 2:
/// stable goes to 1.
fn give_way(sizes: &Sizes, target: Pair) -> Option<u32> {
    let stable = sizes.stable?;
    let idle = stable.spec.saturating_sub(stable.counted());
    let missing = target.canary.saturating_sub(sizes.canary.spec);
    let is_held = sizes.older.iter().any(|s| s.spec > 0);
    let is_good = sizes.canary.counted() == sizes.canary.spec;
    let go = idle.min(missing);
    (sizes.is_stuck && is_held && is_good && go > 0).then(|| stable.spec.saturating_sub(go))
}

fn two_sides(sizes: &Sizes, target: Pair) -> Pair {
    let ceiling = sizes.fence.ceiling(sizes.replicas);
    let floor = sizes.fence.floor(sizes.replicas);
    let older: u32 = sizes
        .older
        .iter()
        .fold(0, |sum, s| sum.saturating_add(s.spec));
    let stable_spec = sizes.stable.map_or(0, |s| s.spec);
    let total = sizes
        .canary
        .spec
        .saturating_add(stable_spec)
        .saturating_add(older);
    let mut wanted = Pair {
        canary: sizes.canary.spec,
        stable: stable_spec,
    };

    let mut budget = ceiling.saturating_sub(total);
    // Where older pods stand in for a stable version that is short of available ones, the canary's
    // come first: what stable made would be as broken as the rest of it.
    let is_short = sizes.stable.is_some_and(|s| s.available < target.stable);
    if older > 0 && is_short && sizes.is_stuck {
        let grow = target.canary.saturating_sub(sizes.canary.spec).min(budget);
        wanted.canary = sizes.canary.spec.saturating_add(grow);
        budget = budget.saturating_sub(grow);
    }
    if sizes.stable.is_some() {
        let grow = target.stable.saturating_sub(stable_spec).min(budget);
        wanted.stable = stable_spec.saturating_add(grow);
        budget = budget.saturating_sub(grow);
    }
    let grow = target.canary.saturating_sub(wanted.canary).min(budget);
    wanted.canary = wanted.canary.saturating_add(grow);

    if older > 0 && total <= ceiling {
        return wanted;
    }
    let Some(stable) = sizes.stable else {
        return shrink_alone(sizes, target, wanted);
    };
    let is_up = target.canary >= sizes.canary.spec;
    let (growing, draining) = if is_up {
        (sizes.canary, stable)
    } else {
        (stable, sizes.canary)
    };
    let capacity = growing.counted().saturating_add(draining.spec);
    if capacity > floor {
        let spare = capacity.saturating_sub(floor);
        let kept = draining.spec.saturating_sub(spare);
        if is_up {
            if target.stable < stable.spec {
                wanted.stable = kept.max(target.stable);
            }
        } else {
            wanted.canary = kept.max(target.canary);
        }
    }
    trim(sizes, stable, target, wanted)
}

/// Without a separate stable, more pods than wanted go at once: nothing else can be short. Where a
/// stable is wanted and is not there, the canary is all there is: it stays at the floor.
fn shrink_alone(sizes: &Sizes, target: Pair, wanted: Pair) -> Pair {
    let floor = sizes.fence.floor(sizes.replicas);
    let least = if target.stable == 0 {
        target.canary
    } else {
        target.canary.max(floor)
    };
    if sizes.canary.spec > least {
        Pair {
            canary: least,
            ..wanted
        }
    } else {
        wanted
    }
}

/// Cuts the pair down to the ceiling (replicas were lowered), each side not below its target, and
/// available pods not below the floor.
fn trim(sizes: &Sizes, stable: Size, target: Pair, mut wanted: Pair) -> Pair {
    let ceiling = sizes.fence.ceiling(sizes.replicas);
    let floor = sizes.fence.floor(sizes.replicas);
    let older: u32 = sizes
        .older
        .iter()
        .fold(0, |sum, s| sum.saturating_add(s.spec));
    let total = wanted
        .canary
        .saturating_add(wanted.stable)
        .saturating_add(older);
    let mut excess = total.saturating_sub(ceiling);
    if excess == 0 {
        return wanted;
    }
    let sides = [
        (stable, target.stable, true),
        (sizes.canary, target.canary, false),
    ];
    for (side, goal, is_stable) in sides {
        let (mine, other) = if is_stable {
            (wanted.stable, sizes.canary.available.min(wanted.canary))
        } else {
            (wanted.canary, stable.available.min(wanted.stable))
        };
        let least = side.available.min(floor.saturating_sub(other)).max(goal);
        let cut = mine.saturating_sub(least).min(excess);
        excess = excess.saturating_sub(cut);
        if is_stable {
            wanted.stable = mine.saturating_sub(cut);
        } else {
            wanted.canary = mine.saturating_sub(cut);
        }
    }
    wanted
}

/// Older ReplicaSets go down by what is available beyond the floor; pods that are not available
/// go first, they carry nothing (S19, A29).
/// Example (R20): 7 available, floor 5, older 2 of 2: down to 0; with 6 available down to 1.
fn drain_older(sizes: &Sizes) -> Vec<u32> {
    let floor = sizes.fence.floor(sizes.replicas);
    let sides = sizes
        .canary
        .counted()
        .saturating_add(sizes.stable.map_or(0, Size::counted));
    let available = sizes
        .older
        .iter()
        .fold(sides, |sum, s| sum.saturating_add(s.counted()));
    let mut budget = available.saturating_sub(floor);
    sizes
        .older
        .iter()
        .map(|s| {
            let healthy = s.counted();
            let go = healthy.min(budget);
            budget = budget.saturating_sub(go);
            healthy.saturating_sub(go)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(replicas: u32, surge: u32, unavailable: u32) -> Fence {
        fenceposts(replicas, Bound::Pods(surge), Bound::Pods(unavailable))
    }

    #[test]
    fn fenceposts_round_surge_up_and_unavailability_down() {
        let quarter = Bound::Percent(25);
        for (n, expect) in [
            (1, (1, 0)),
            (3, (1, 0)),
            (4, (1, 1)),
            (10, (3, 2)),
            (0, (0, 0)),
        ] {
            let f = fenceposts(n, quarter, quarter);
            assert_eq!((f.surge, f.unavailable), expect, "{n} replicas");
        }
        let f = fenceposts(5, Bound::Pods(0), Bound::Percent(10));
        assert_eq!((f.surge, f.unavailable), (0, 1), "both resolve to 0");
        assert_eq!(
            fenceposts(10, Bound::Pods(1), Bound::Pods(15)).unavailable,
            10
        );
    }

    #[test]
    fn weighted_counts_follow_the_contract() {
        let table = [
            // replicas, weight, surge, canary, stable
            (10, 10, 3, 1, 9),
            (3, 50, 1, 2, 2),
            (3, 50, 0, 2, 1),
            (5, 50, 2, 3, 3),
            (6, 45, 2, 3, 4),
            (6, 45, 0, 3, 3),
            (8, 30, 2, 3, 6),
            (8, 30, 0, 2, 6),
            (2, 10, 1, 1, 2),
            (1, 20, 0, 0, 1),
            (1, 20, 1, 1, 1),
            (1, 50, 0, 1, 0),
            (10, 99, 0, 9, 1),
            (10, 99, 1, 10, 1),
            (20, 1, 5, 1, 20),
            (4, 20, 1, 1, 4),
            (4, 25, 1, 1, 3),
            (10, 95, 3, 10, 1),
            (0, 50, 1, 0, 0),
            (10, 0, 3, 0, 10),
            (10, 100, 3, 10, 0),
            // The peer has no candidate here and leaves the canary at 0 (R12): one stable pod stays.
            (10, 95, 0, 9, 1),
            (5, 90, 0, 4, 1),
            (2, 75, 0, 1, 1),
        ];
        for (n, w, s, canary, stable) in table {
            assert_eq!(
                weighted_counts(n, w, s),
                Pair { canary, stable },
                "{n} at {w} surge {s}"
            );
        }
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let p = weighted_counts(u32::MAX, 99, 1);
        assert!(p.canary > 0 && p.stable > 0);
    }

    /// Plays moves until settled; every pod becomes available unless `ready` says otherwise.
    fn walk(replicas: u32, f: Fence, from: (u32, u32), weight: Option<u32>) -> String {
        let target = weight.map_or(
            Pair {
                canary: replicas,
                stable: 0,
            },
            |w| weighted_counts(replicas, w, f.surge),
        );
        let full = |n| Size {
            spec: n,
            available: n,
        };
        let mut sizes = Sizes {
            replicas,
            fence: f,
            canary: full(from.0),
            stable: Some(full(from.1)),
            older: vec![],
            is_stuck: false,
        };
        let mut path = vec![];
        for _ in 0..50 {
            match next_move(&sizes, target) {
                Move::Stable(n) => {
                    path.push(format!("s{n}"));
                    sizes.stable = Some(full(n));
                }
                Move::Canary(n) => {
                    path.push(format!("c{n}"));
                    sizes.canary = full(n);
                }
                Move::Older(_) => unreachable!("none here"),
                Move::Settled => break,
                Move::Wait => {
                    path.push("wait".into());
                    break;
                }
            }
        }
        path.join(" ")
    }

    #[test]
    fn moves_follow_the_worked_examples() {
        let four = fenceposts(4, Bound::Percent(25), Bound::Percent(25));
        let ten = fenceposts(10, Bound::Percent(25), Bound::Percent(25));
        assert_eq!(walk(10, fence(10, 3, 2), (0, 10), Some(20)), "s8 c2", "R13");
        assert_eq!(walk(10, fence(10, 3, 0), (0, 10), Some(20)), "c2 s8", "R14");
        assert_eq!(
            walk(4, fence(4, 1, 0), (0, 4), None),
            "c1 s3 c2 s2 c3 s1 c4 s0",
            "R15"
        );
        assert_eq!(walk(4, four, (0, 4), None), "s3 c2 s1 c4 s0", "R16");
        assert_eq!(
            walk(5, fence(5, 2, 1), (0, 5), None),
            "s4 c3 s1 c5 s0",
            "R17"
        );
        assert_eq!(
            walk(6, fence(6, 2, 1), (6, 0), Some(0)),
            "s2 c3 s5 c0 s6",
            "R21"
        );
        assert_eq!(walk(4, four, (2, 2), Some(0)), "s3 c0 s4", "R22");
        assert_eq!(walk(10, ten, (6, 4), Some(20)), "s7 c2 s8", "R23");
        assert_eq!(walk(4, four, (2, 6), Some(25)), "s4 c1 s3", "R24 down");
        let eight = fenceposts(8, Bound::Percent(25), Bound::Percent(25));
        assert_eq!(walk(8, eight, (1, 3), Some(25)), "s6 c2", "R24 up");
    }

    #[test]
    fn pods_that_never_get_ready_stop_the_move() {
        let mut sizes = Sizes {
            replicas: 5,
            fence: fence(5, 1, 0),
            canary: Size {
                spec: 1,
                available: 0,
            },
            stable: Some(Size {
                spec: 5,
                available: 5,
            }),
            older: vec![],
            is_stuck: false,
        };
        let all = Pair {
            canary: 5,
            stable: 0,
        };
        assert_eq!(
            next_move(&sizes, all),
            Move::Wait,
            "R18, surge 1, unavailable 0"
        );
        sizes.fence = fence(5, 1, 2);
        assert_eq!(
            next_move(&sizes, all),
            Move::Stable(3),
            "R18, unavailable 2"
        );
        sizes.stable = Some(Size {
            spec: 3,
            available: 3,
        });
        assert_eq!(next_move(&sizes, all), Move::Canary(3));
        sizes.canary.spec = 3;
        assert_eq!(next_move(&sizes, all), Move::Wait);
    }

    #[test]
    fn a_canary_whose_stable_is_gone_stays_at_the_floor() {
        let sizes = Sizes {
            replicas: 4,
            fence: fence(4, 1, 1),
            canary: Size {
                spec: 4,
                available: 4,
            },
            stable: None,
            older: vec![],
            is_stuck: false,
        };
        let back = Pair {
            canary: 0,
            stable: 4,
        };
        assert_eq!(next_move(&sizes, back), Move::Canary(3));
    }

    #[test]
    fn a_broken_stable_gives_what_the_canary_has_beyond_the_floor() {
        let sizes = Sizes {
            replicas: 6,
            fence: fence(6, 2, 0),
            canary: Size {
                spec: 2,
                available: 2,
            },
            stable: Some(Size {
                spec: 6,
                available: 3,
            }),
            older: vec![],
            is_stuck: false,
        };
        assert_eq!(
            next_move(
                &sizes,
                Pair {
                    canary: 6,
                    stable: 0
                }
            ),
            Move::Stable(4),
            "R19"
        );
    }

    #[test]
    fn older_replica_sets_are_drained_before_either_side_shrinks() {
        let mut sizes = Sizes {
            replicas: 6,
            fence: fence(6, 1, 1),
            canary: Size::default(),
            stable: Some(Size {
                spec: 4,
                available: 4,
            }),
            older: vec![Size {
                spec: 2,
                available: 2,
            }],
            is_stuck: false,
        };
        let half = Pair {
            canary: 3,
            stable: 3,
        };
        assert_eq!(next_move(&sizes, half), Move::Canary(1), "R20");
        sizes.canary = Size {
            spec: 1,
            available: 0,
        };
        assert_eq!(next_move(&sizes, half), Move::Older(vec![1]));
        sizes.canary.available = 1;
        assert_eq!(next_move(&sizes, half), Move::Older(vec![0]));
    }

    #[test]
    fn unavailable_pods_of_older_replica_sets_go_first() {
        let sizes = Sizes {
            replicas: 4,
            fence: fence(4, 1, 0),
            canary: Size {
                spec: 0,
                available: 0,
            },
            stable: Some(Size {
                spec: 4,
                available: 3,
            }),
            older: vec![Size {
                spec: 3,
                available: 1,
            }],
            is_stuck: false,
        };
        let target = Pair {
            canary: 0,
            stable: 4,
        };
        assert_eq!(next_move(&sizes, target), Move::Older(vec![1]));
    }

    #[test]
    fn growth_inside_a_step_goes_by_surge() {
        // Ten replicas to 50 %, one extra pod allowed, none missing: one by one, eleven at most.
        let path = walk(10, fence(10, 1, 0), (0, 10), Some(50));
        assert_eq!(path, "c1 s9 c2 s8 c3 s7 c4 s6 c5 s5");
        let path = walk(10, fence(10, 3, 0), (0, 10), Some(50));
        assert_eq!(path, "c3 s7 c5 s5");
    }

    #[test]
    fn constant_replicas_end_every_step_with_as_many_pods_as_wanted() {
        for n in 1..12 {
            for weight in 0..=100 {
                let pair = weighted_counts(n, weight, 0);
                assert_eq!(pair.canary + pair.stable, n, "{n} at {weight}");
            }
        }
        assert_eq!(walk(4, fence(4, 1, 0), (0, 4), Some(50)), "c1 s3 c2 s2");
    }

    proptest::proptest! {
        /// #7 and #30: whatever is left of a stable version whose pods are never available, a canary
        /// whose pods are reaches every weight, and at the end nothing else is left.
        #[test]
        fn a_broken_stable_never_holds_a_good_canary(
            replicas in 1u32..12, surge in 0u32..4, unavailable in 0u32..4,
            stable in 0u32..12, older in 0u32..12, weights in proptest::collection::vec(1u32..100, 0..4),
        ) {
            let f = fenceposts(replicas, Bound::Pods(surge), Bound::Pods(unavailable));
            let full = |n| Size { spec: n, available: n };
            let mut sizes = Sizes {
                replicas, fence: f, canary: full(0),
                stable: Some(Size { spec: stable, available: 0 }), older: vec![full(older)], is_stuck: true,
            };
            let mut weights = weights;
            weights.sort_unstable();
            weights.push(100);
            for weight in weights {
                let target = weighted_counts(replicas, weight, f.surge);
                for _ in 0..100 {
                    match next_move(&sizes, target) {
                        Move::Stable(n) => sizes.stable = Some(Size { spec: n, available: 0 }),
                        Move::Canary(n) => sizes.canary = full(n),
                        Move::Older(n) => sizes.older = vec![full(n[0])],
                        Move::Settled | Move::Wait => break,
                    }
                }
                // It may keep more where nothing else holds the floor.
                proptest::prop_assert!(sizes.canary.spec >= target.canary, "at {}: {:?}", weight, sizes);
            }
            proptest::prop_assert_eq!((sizes.stable.unwrap().spec, sizes.older[0].spec), (0, 0));
        }

        /// I-01 and I-02 for the arithmetic alone: whatever the sizes, no move lowers counted
        /// availability below the floor or raises the total above the ceiling.
        #[test]
        fn no_move_breaks_floor_or_ceiling(
            replicas in 0u32..30, surge in 0u32..6, unavailable in 0u32..6, weight in 0u32..=100,
            c in (0u32..40, 0u32..40), s in (0u32..40, 0u32..40), o in (0u32..10, 0u32..10),
        ) {
            let f = fenceposts(replicas, Bound::Pods(surge), Bound::Pods(unavailable));
            let size = |(spec, available): (u32, u32)| Size { spec, available };
            let sizes = Sizes {
                replicas, fence: f, canary: size(c), stable: Some(size(s)), older: vec![size(o)], is_stuck: false,
            };
            let target = weighted_counts(replicas, weight, f.surge);
            let mut after = sizes.clone();
            match next_move(&sizes, target) {
                Move::Stable(n) => after.stable.as_mut().unwrap().spec = n,
                Move::Canary(n) => after.canary.spec = n,
                Move::Older(n) => after.older[0].spec = n[0],
                Move::Settled | Move::Wait => return Ok(()),
            }
            let specs = |z: &Sizes| z.canary.spec + z.stable.unwrap().spec + z.older[0].spec;
            // Available pods that survive: what was there, cut to the new size.
            let live = |z: &Sizes, w: &Sizes| {
                z.canary.available.min(w.canary.spec)
                    + z.stable.unwrap().available.min(w.stable.unwrap().spec)
                    + z.older[0].available.min(w.older[0].spec)
            };
            let had = live(&sizes, &sizes);
            proptest::prop_assert!(live(&sizes, &after) >= f.floor(replicas).min(had));
            proptest::prop_assert!(specs(&after) <= f.ceiling(replicas).max(specs(&sizes)));
        }
    }
}
