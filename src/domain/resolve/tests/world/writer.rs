//! The two writers of the [`World`], one step of theirs at a time.

use super::remote::{Condition, Request};
use super::{DEADLINE_MS, LEASE_MS, World};
use crate::domain::id::{Epoch, Side, Token};
use crate::domain::pending::Pending;
use crate::domain::write::{Deadlines, Finish, Plan, begin, finish, give_up, plan, withdraw};
use crate::domain::{Snapshot, Timestamp};

/// How the next step of a writer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Well,
    /// It is killed before the step does anything.
    Dies,
    /// The request waits in some proxy: the writer hears nothing and gives up.
    LeavesBehind,
    /// The request takes effect and the answer is lost; the writer is killed.
    AnswerLost,
    /// The system says that it did nothing, try again.
    Refused,
}

pub enum Writer {
    Idle,
    /// It read the account itself, to have something fresh to go by, and has not planned yet.
    Looked {
        side: Side,
        at: i64,
    },
    /// The intent is noted.
    Begun(Work),
    /// The account was found unchanged.
    Checked(Work),
    /// The request was answered; what it left is still to be read back.
    Unread(Work),
    /// The answer is known.
    Answered(Work, Snapshot),
    /// The account was found changed: nothing was written.
    Moved(Work, Snapshot),
}

pub struct Work {
    side: Side,
    token: Token,
    wanted: Pending,
    request: Request,
    lease_until: i64,
    /// The epoch in which it began: whatever it sees belongs to that one.
    epoch: Epoch,
}

impl World {
    pub fn write(&mut self, writer: usize, command: usize, fate: Fate) {
        let before = std::mem::replace(&mut self.writers[writer], Writer::Idle);
        self.writers[writer] = match before {
            Writer::Idle => match command.checked_rem(self.commands.len()) {
                None => Writer::Idle,
                Some(index) => {
                    let side = self.commands.swap_remove(index);
                    self.take(side, fate)
                }
            },
            Writer::Looked { side, at } => self.plan_and_begin(side, at),
            Writer::Begun(work) | Writer::Checked(work) | Writer::Unread(work) | Writer::Answered(work, _)
                if fate == Fate::Dies =>
            {
                self.dies(work)
            }
            Writer::Begun(mut work) if self.systems[work.side].condition == Condition::CheckFirst => {
                let found = self.systems[work.side].look(self.now);
                if found.version.modified_at > work.request.base.modified_at {
                    Writer::Moved(work, found)
                } else {
                    work.request.checked_at = self.now;
                    Writer::Checked(work)
                }
            }
            Writer::Begun(work) | Writer::Checked(work) => self.send(work, fate),
            Writer::Unread(work) => {
                let found = self.systems[work.side].look(self.now);
                Writer::Answered(work, found)
            }
            Writer::Answered(work, answer) => self.commit(work, &answer),
            Writer::Moved(work, found) => {
                if let Some(link) = withdraw(&self.link, work.side, work.token) {
                    self.link = link;
                }
                // A newer change does the work.
                self.publish(work.side, found, work.epoch);
                Writer::Idle
            }
        };
    }

    /// A writer takes a command.
    fn take(&mut self, side: Side, fate: Fate) -> Writer {
        if fate == Fate::Dies {
            self.commands.push(side);
            return Writer::Idle;
        }
        if self.systems[side].condition == Condition::Unstamped && self.link.sides[side].seen_at.is_some() {
            let found = self.systems[side].look(self.now);
            let emits = self.apply(side, &found, self.link.epoch);
            Side::BOTH.into_iter().filter(|side| emits[*side]).for_each(|side| self.commands.push(side));
            if self.asked[side].is_some() {
                // What was seen cannot be ordered: there is nothing yet to go by.
                self.commands.push(side);
                return Writer::Idle;
            }
            return Writer::Looked { side, at: self.now };
        }
        self.plan_and_begin(side, self.now)
    }

    fn plan_and_begin(&mut self, side: Side, checked_at: i64) -> Writer {
        match plan(&self.link, side, &self.rules, Timestamp(self.now)) {
            Plan::Nothing | Plan::Held | Plan::Rejected | Plan::Buried => {}
            Plan::Leased { .. } | Plan::Wait { .. } => self.commands.push(side),
            Plan::Unseen { .. } | Plan::Unsettled { .. } => {
                self.asked[side] = Some(self.now);
                self.commands.push(side);
            }
            Plan::Write(wanted) => {
                self.tokens += 1;
                let token = Token(self.tokens);
                // The system's clock is known to the second, and never taken for later than it is.
                let over_at = Timestamp(self.systems[side].clock(self.now).0 - 900 + DEADLINE_MS);
                let deadlines = Deadlines {
                    begun_at: Timestamp(over_at.0 - DEADLINE_MS),
                    lease_until: Timestamp(self.now + LEASE_MS),
                    over_at,
                    search_counts_at: Timestamp(self.now + DEADLINE_MS),
                };
                let base = self.link.sides[side].seen_at.clone().expect("an update has a base");
                self.link = begin(&self.link, side, token, &wanted, &self.rules, deadlines);
                let deadline = self.now + DEADLINE_MS;
                let (lease_until, epoch) = (self.now + LEASE_MS, self.link.epoch);
                let request = Request { side, values: wanted.values.clone(), base, deadline, checked_at, epoch };
                return Writer::Begun(Work { side, token, wanted, request, lease_until, epoch });
            }
        }
        Writer::Idle
    }

    fn send(&mut self, work: Work, fate: Fate) -> Writer {
        if self.now >= work.request.deadline || self.now >= work.lease_until {
            return self.takes_back(work);
        }
        match fate {
            Fate::Refused => self.takes_back(work),
            Fate::LeavesBehind => {
                self.left_behind.push(work.request.clone());
                if let Some(link) = give_up(&self.link, work.side, work.token, true) {
                    self.link = link;
                }
                self.dies(work)
            }
            Fate::AnswerLost => {
                self.execute(&work.request);
                self.dies(work)
            }
            Fate::Well | Fate::Dies => {
                if !self.execute(&work.request) {
                    let found = self.systems[work.side].look(self.now);
                    Writer::Moved(work, found)
                } else if self.reads_back {
                    Writer::Unread(work)
                } else {
                    // The data are of this moment; the answer counts from its coming, which is later.
                    let answer = self.systems[work.side].look(self.now);
                    Writer::Answered(work, answer)
                }
            }
        }
    }

    fn commit(&mut self, work: Work, answer: &Snapshot) -> Writer {
        let mut answer = answer.clone();
        if !self.reads_back {
            answer.version.read_at = self.systems[work.side].clock(self.now);
        }
        match finish(&self.link, work.side, work.token, &work.wanted, &answer, &self.rules) {
            Finish::Done { link, rest } => {
                self.link = link;
                self.judge.no_phantom(&self.link);
                if let Some(rest) = rest {
                    self.publish(work.side, rest, work.epoch);
                }
                Writer::Idle
            }
            Finish::Fenced { link } => {
                self.link = link;
                self.asked[work.side] = Some(self.now);
                self.judge.unfinished();
                Writer::Idle
            }
            Finish::LostLease => self.dies(work),
        }
    }

    /// Nothing was carried out: the command goes back.
    fn takes_back(&mut self, work: Work) -> Writer {
        if let Some(link) = withdraw(&self.link, work.side, work.token) {
            self.link = link;
        }
        self.commands.push(work.side);
        Writer::Idle
    }

    /// The broker delivers the command again; the intent stays.
    fn dies(&mut self, work: Work) -> Writer {
        self.judge.unfinished();
        self.commands.push(work.side);
        Writer::Idle
    }

    fn publish(&mut self, side: Side, snapshot: Snapshot, epoch: Epoch) {
        self.changes.push(super::Change { side, snapshot, epoch, owed: Default::default() });
    }
}
