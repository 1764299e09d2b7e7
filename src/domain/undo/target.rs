//! What a run did to an account, all its notes taken together.

use std::collections::BTreeMap;

use super::{Act, Before, Overwritten, Replaced};
use crate::domain::attribute::{AttributePath, Digest, Value};
use crate::domain::id::{AccountId, Epoch, LinkId, Side, Sides};
use crate::domain::link::Link;
use crate::domain::rules::Rules;

/// What a run did to one account of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The link.
    pub link: LinkId,
    /// The side of the account.
    pub side: Side,
    /// The accounts of the link then. One that was to be created has an id once that is known.
    pub accounts: Sides<Option<AccountId>>,
    /// What was done, as a whole: [`Act::Created`] where nobody knows whether it was.
    pub act: Act,
    /// What was written.
    pub values: BTreeMap<AttributePath, Written>,
}

/// What a run wrote to one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The epoch of the first write.
    pub epoch: Epoch,
    /// Generation of the value that was written last.
    pub generation: u32,
    /// The last value there that the run itself had not written.
    pub before: Before,
    /// What the system made of the value that was written last, where it showed another form.
    pub kept: Option<Option<Value>>,
    /// All that the run has put there, as the side compares it.
    ours: Vec<Digest>,
}

/// What a run did, in the order in which it began to. One account is one target, and keeps its place however many notes follow.
pub fn targets(notes: impl IntoIterator<Item = Overwritten>, rules: &Rules) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut places = BTreeMap::<(LinkId, Side, Option<AccountId>), usize>::new();
    for Overwritten { link, epoch, side, accounts, at: _, act, values } in notes {
        let key = (link, side, accounts[side].clone());
        // An account that was made is the one that was to be created.
        let known = places.get(&key).or_else(|| places.get(&(link, side, None)).filter(|_| act == Act::Made)).copied();
        let place = known.unwrap_or_else(|| {
            targets.push(Target { link, side, accounts: accounts.clone(), act, values: BTreeMap::new() });
            targets.len() - 1
        });
        places.insert(key, place);
        let target = &mut targets[place];
        match act {
            Act::Made => (target.act, target.accounts) = (act, accounts),
            Act::Parted(_) => target.act = act,
            Act::Created | Act::Changed | Act::Kept => {}
        }
        for replaced in values {
            match target.values.get_mut(&replaced.path) {
                Some(written) if act == Act::Kept => written.keep(epoch, replaced, side, rules),
                Some(written) => written.add(epoch, replaced, side, rules),
                // A form says nothing without the write.
                None if act == Act::Kept => {}
                None => {
                    let Replaced { path, generation, wrote, before } = replaced;
                    target.values.insert(path, Written { epoch, generation, before, kept: None, ours: vec![wrote] });
                }
            }
        }
    }
    targets
}

impl Target {
    /// Whether both sides should have all that was there before, as far as that is known at all: nothing is to be done.
    pub fn is_undone(&self, link: &Link, rules: &Rules) -> bool {
        self.values.iter().all(|(path, written)| {
            let digest = |value: &Option<Value>| rules.digest(self.side, path, value.as_ref());
            let register = link.registers.get(path).map(|register| digest(&register.value));
            matches!(&written.before, Before::Held(before) if register == Some(digest(before)))
        })
    }
}

impl Written {
    /// A later write. What it overwrote is what is brought back, unless the run itself had written that: the earlier write may
    /// never have landed, and a person may have written between the two.
    fn add(&mut self, epoch: Epoch, replaced: Replaced, side: Side, rules: &Rules) {
        // Of two epochs nothing can be told together; the first one is over, which says so.
        if epoch != self.epoch {
            return;
        }
        let Replaced { path, generation, wrote, before } = replaced;
        if let Before::Held(held) = &before
            && !self.ours.contains(&rules.digest(side, &path, held.as_ref()))
        {
            self.before = before;
        }
        if generation != self.generation {
            self.kept = None;
        }
        self.generation = generation;
        self.ours.push(wrote);
    }

    /// The system holds the value of a write in another form.
    fn keep(&mut self, epoch: Epoch, replaced: Replaced, side: Side, rules: &Rules) {
        let Replaced { path, generation, wrote: _, before } = replaced;
        if let Before::Held(held) = before
            && (epoch, generation) == (self.epoch, self.generation)
        {
            self.ours.push(rules.digest(side, &path, held.as_ref()));
            self.kept = Some(held);
        }
    }
}
