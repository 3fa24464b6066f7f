//! Which shard a namespace is in, and which shards a replica should have: a fair share of a fixed
//! number, with as few moves as that takes. Pure; who holds a shard is decided by its Lease alone, so
//! replicas that see different things disagree about wishes and never about facts.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The shard of a namespace among so many. Every replica of every version must say the same.
pub fn shard_of(namespace: &str, count: u32) -> u32 {
    let digest = Sha256::digest(namespace.as_bytes());
    let first = digest
        .iter()
        .take(8)
        .fold(0_u64, |n, b| (n << 8) | u64::from(*b));
    let shard = first.checked_rem(u64::from(count)).unwrap_or(0);
    u32::try_from(shard).unwrap_or(0)
}

/// What a replica believes of all: the living ones, itself among them, and the shards each says it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<String, Vec<u32>>);

/// What a replica should do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Shards to try to get, the first ones first. Trying is harmless: the Lease decides.
    pub take: Vec<u32>,
    /// Shards to give back.
    pub give: Vec<u32>,
}

impl Members {
    fn held_by(&self, who: &str) -> &[u32] {
        self.0.get(who).map(Vec::as_slice).unwrap_or_default()
    }

    /// How many of `count` shards this replica should have. Shares differ by one at most; who has most
    /// already keeps the larger ones, so that nothing moves for nothing.
    pub fn share(&self, me: &str, count: u32) -> usize {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let members = self.0.len().max(1);
        let (least, larger) = (count / members, count % members);
        let mut order: Vec<(std::cmp::Reverse<usize>, &str)> = self
            .0
            .iter()
            .map(|(who, held)| (std::cmp::Reverse(held.len()), who.as_str()))
            .collect();
        order.sort();
        let rank = order.iter().position(|(_, who)| *who == me);
        least + usize::from(rank.is_none_or(|rank| rank < larger))
    }

    /// What `me` should do: give back what is more than its share, or try for what nobody living
    /// says it holds.
    pub fn wish(&self, me: &str, count: u32) -> Wish {
        let held = self.held_by(me);
        let share = self.share(me, count);
        if held.len() > share {
            let mut give = held.to_vec();
            give.sort_unstable();
            return Wish {
                give: give.split_off(share),
                take: vec![],
            };
        }
        let is_claimed = |shard: &u32| self.0.values().any(|held| held.contains(shard));
        let mut free: Vec<u32> = (0..count).filter(|shard| !is_claimed(shard)).collect();
        // Everyone begins elsewhere, so that they do not all try for the same.
        free.sort_by_cached_key(|shard| Sha256::digest(format!("{me}/{shard}")).to_vec());
        free.truncate(share - held.len());
        Wish {
            take: free,
            give: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(all: &[(&str, &[u32])]) -> Members {
        let all = all.iter();
        Members(
            all.map(|(who, held)| ((*who).to_owned(), held.to_vec()))
                .collect(),
        )
    }

    #[test]
    fn a_namespace_stays_in_its_shard_for_ever() {
        // On the wire between releases: never change these.
        let shards: Vec<u32> = ["default", "shop", "ai-agents-prod", ""]
            .map(|n| shard_of(n, 16))
            .into();
        assert_eq!(shards, [13, 13, 4, 4]);
        assert_eq!(shard_of("anything", 1), 0);
        assert_eq!(shard_of("anything", 0), 0);
    }

    #[test]
    fn namespaces_are_spread_over_all_shards() {
        let mut sizes = vec![0; 16];
        for i in 0..1600 {
            let shard = shard_of(&format!("team-{i}"), 16);
            sizes[usize::try_from(shard).unwrap()] += 1;
        }
        assert!(sizes.iter().all(|n| (60..=140).contains(n)), "{sizes:?}");
    }

    #[test]
    fn one_alone_takes_everything_and_gives_half_to_the_second() {
        let alone = members(&[("a", &[])]).wish("a", 16);
        assert_eq!(alone.take.len(), 16);
        let all: Vec<u32> = (0..16).collect();
        let two = members(&[("a", &all), ("b", &[])]);
        assert_eq!(two.wish("a", 16).give, (8..16).collect::<Vec<u32>>());
        assert_eq!(two.wish("b", 16), Wish::default(), "nothing is free yet");
    }

    #[test]
    fn who_has_more_already_keeps_the_larger_share() {
        let three = members(&[("a", &[0, 1, 2]), ("b", &[3, 4]), ("c", &[5, 6])]);
        for who in ["a", "b", "c"] {
            assert_eq!(three.wish(who, 7), Wish::default(), "{who}");
        }
    }

    #[test]
    fn more_replicas_than_shards_leave_some_with_nothing() {
        let many = members(&[("a", &[0]), ("b", &[1]), ("c", &[])]);
        assert_eq!(many.wish("c", 2), Wish::default());
    }

    #[test]
    fn a_wish_of_different_replicas_begins_elsewhere() {
        let two = members(&[("a", &[]), ("b", &[])]);
        assert_ne!(two.wish("a", 16).take, two.wish("b", 16).take);
    }

    proptest! {
        /// From anywhere, whoever acts first, it ends fair, with every shard held once, and rests there.
        #[test]
        fn it_ends_fair_and_rests(
            count in 1_u32..40,
            owners in proptest::collection::vec(0_usize..7, 40),
            living in 1_usize..6,
            order in proptest::collection::vec(0_usize..6, 200),
        ) {
            let name = |i: usize| format!("replica-{i}");
            let mut now = Members((0..living).map(|i| (name(i), vec![])).collect());
            for shard in 0..count {
                // Those of replicas that are dead are free.
                let owner = name(owners[usize::try_from(shard).unwrap()]);
                if let Some(held) = now.0.get_mut(&owner) {
                    held.push(shard);
                }
            }
            for who in order.iter().chain((0..60).map(|i| i % living).collect::<Vec<_>>().iter()) {
                let me = name(who % living);
                let wish = now.wish(&me, count);
                prop_assert!(wish.take.is_empty() || wish.give.is_empty());
                let held = now.0.get_mut(&me).unwrap();
                held.retain(|shard| !wish.give.contains(shard));
                held.extend(wish.take);
            }
            let sizes: Vec<usize> = now.0.values().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{now:?}");
            let mut all: Vec<u32> = now.0.values().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            for i in 0..living {
                prop_assert_eq!(now.wish(&name(i), count), Wish::default());
            }
        }
    }
}
