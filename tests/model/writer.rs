//! The writers, one step of theirs at a time. What they do is decided by `course`, `begin`, `finish` and their siblings.

use muster::domain::course::{Course, Existing, course, existing};
use muster::domain::pending::Need;
use muster::domain::write::{Deadlines, Finish, adopt, base, begin, finish, forget_creations, give_up, withdraw};
use muster::domain::{Rules, Side, Snapshot, Timestamp, Token};

use super::act::OneLink;
use super::remote::clock;
use super::setup::{Condition, DEADLINE, STEP_MS, lease};
use super::state::{Request, State, Work, Writer};

impl OneLink {
    /// A writer takes a command, plans, takes the lease and notes the intent, in one commit. `None`: the command waits.
    pub fn take(&self, state: &mut State, side: Side) -> Option<Writer> {
        state.commands[side] = state.commands[side].checked_sub(1)?;
        let rules = self.rules(state.epoch);
        match course(&state.link, side, rules, state.epoch, Timestamp(state.now), false) {
            Course::Over(_) | Course::Heal | Course::EndWait => Some(Writer::Idle),
            Course::Leased { .. } | Course::Wait { .. } => None,
            Course::Look { settled, .. } => {
                let seen_at = state.link.sides[side].seen_at.as_ref();
                let known_at = seen_at.filter(|_| settled).map(|seen_at| seen_at.read_at.0 + STEP_MS);
                if known_at.is_some_and(|known_at| clock(side, &self.setup, state.now).0 < known_at) {
                    return None;
                }
                let found = self.look(state, side, state.now);
                state.publish(side, found, state.epoch);
                Some(Writer::Idle)
            }
            Course::Write(wanted) => {
                state.tokens += 1;
                let token = Token(state.tokens);
                let target = clock(side, &self.setup, state.now);
                let deadlines = Deadlines::of(Timestamp(state.now), target, lease(state.now), self.setup.search_lag);
                let base = match wanted.need {
                    Need::Update { .. } => Some(base(&state.link, side, rules, target).expect("it was read")),
                    Need::Create { .. } | Need::Find { .. } => None,
                    Need::Part { .. } => unreachable!("no configuration parts leavers from their partners"),
                };
                state.link = begin(&state.link, side, token, &wanted, rules, deadlines);
                // A creation lands while its lease lasts, as the wait for a search takes for granted. An update gets the
                // second more that its intent gives it, so that leases end under requests.
                let land_until = deadlines.lease_until.0 + if base.is_some() { 1_000 } else { -1 };
                let request = Request {
                    side,
                    values: wanted.values.clone(),
                    base,
                    land_until,
                    checked: None,
                    epoch: state.epoch,
                };
                Some(Writer::Begun(Work {
                    side,
                    token,
                    wanted,
                    request,
                    send_until: state.now + i64::try_from(lease(state.now).min(DEADLINE).as_millis()).unwrap(),
                    lease_until: deadlines.lease_until.0,
                    epoch: state.epoch,
                }))
            }
        }
    }

    /// The next step of a writer at work; all goes well.
    pub fn go_on(&self, state: &mut State, writer: Writer) -> Option<Writer> {
        match writer {
            Writer::Idle => None,
            Writer::Begun(work) if state.now >= work.send_until => Some(self.takes_back(state, &work)),
            Writer::Begun(work) if work.request.base.is_none() => self.search(state, work),
            Writer::Begun(mut work) if self.setup.conditions[work.side].looks_first() => {
                let found = self.look(state, work.side, state.now);
                let base = work.request.base.as_ref().expect("it is an update");
                let has_moved = found.version.modified_at > base.modified_at || found.version.tag != base.tag;
                if has_moved {
                    return Some(Writer::Moved(work, found));
                }
                work.request.checked = Some(found.attributes);
                Some(Writer::Checked(work))
            }
            Writer::Begun(work) | Writer::Checked(work) => self.send(state, work),
            Writer::Unread(work) => {
                let found = self.look(state, work.side, state.now);
                Some(Writer::Answered(work, found))
            }
            Writer::Answered(work, answer) => self.commit(state, &work, answer),
            Writer::Moved(work, found) => {
                if let Some(link) = self.owned(state, &work).and_then(|link| withdraw(link, work.side, work.token)) {
                    state.link = link;
                }
                // The change does the work of the command.
                state.publish(work.side, found, work.epoch);
                Some(Writer::Idle)
            }
        }
    }

    /// The link, if the store still takes commits of the epoch in which the work began.
    fn owned<'s>(&self, state: &'s State, work: &Work) -> Option<&'s muster::domain::Link> {
        (state.epoch == work.epoch).then_some(&state.link)
    }

    /// A search, and what is done about what it shows.
    fn search(&self, state: &mut State, work: Work) -> Option<Writer> {
        let rules = self.rules(state.epoch);
        let remote = &state.systems[work.side];
        let lag = i64::try_from(self.setup.search_lag.as_millis()).unwrap();
        let is_found = remote.exists && state.now >= remote.created_at + lag;
        let found: Vec<Snapshot> = is_found.then(|| self.look(state, work.side, state.now)).into_iter().collect();
        match existing(found, Vec::new(), rules) {
            Existing::Adopt { account, remembered } => {
                let adopted = self
                    .owned(state, &work)
                    .and_then(|link| adopt(link, work.side, work.token, &account, remembered, rules));
                match adopted {
                    Some(link) => {
                        state.link = link;
                        state.publish(work.side, *account, work.epoch);
                    }
                    None => self.command(state, work.side),
                }
                Some(Writer::Idle)
            }
            Existing::Nobody if matches!(work.wanted.need, Need::Find { .. }) => {
                let forgotten = self.owned(state, &work).and_then(|link| forget_creations(link, work.side, work.token));
                match forgotten {
                    Some(link) => state.link = link,
                    None => self.command(state, work.side),
                }
                Some(Writer::Idle)
            }
            Existing::Nobody => Some(Writer::Checked(work)),
            Existing::Ambiguous | Existing::Taken { .. } => unreachable!("there is one account at most to be found"),
        }
    }

    fn send(&self, state: &mut State, work: Work) -> Option<Writer> {
        if state.now >= work.send_until {
            return Some(self.takes_back(state, &work));
        }
        let landed = self.land(state, &work.request);
        let found = self.look(state, work.side, state.now);
        Some(match (landed, &work.request.base) {
            (true, _) if self.setup.reads_back => Writer::Unread(work),
            (true, _) => Writer::Answered(work, found),
            // It exists, and carries our partner's id: it is ours.
            (false, None) => return self.search(state, work),
            (false, Some(_)) => Writer::Moved(work, found),
        })
    }

    /// A request takes effect, unless its condition forbids it.
    pub fn land(&self, state: &mut State, request: &Request) -> bool {
        let side = request.side;
        let remote = &mut state.systems[side];
        let Some(base) = &request.base else {
            if remote.exists && self.setup.unique_key {
                return false;
            }
            remote.created += 1;
            if !remote.exists {
                remote.exists = true;
                remote.created_at = state.now;
                remote.change(&request.values, state.now, self.setup.normalises[side]);
            }
            return true;
        };
        let now = remote.look(side, &self.setup, state.now).version;
        let allows = match self.setup.conditions[side] {
            Condition::Tag => now.tag == base.tag,
            Condition::Stamp => now.modified_at <= base.modified_at,
            Condition::CheckFirst | Condition::Unstamped => true,
        };
        if !allows {
            return false;
        }
        let before = remote.values.clone();
        remote.change(&request.values, state.now, self.setup.normalises[side]);
        for path in request.values.keys() {
            let (old, new) = (before[path].as_ref(), state.systems[side].values[path].as_ref());
            let checked = request.checked.as_ref().map(|seen| seen[path].as_ref());
            state.judge.written(path, (old, new), checked, state.judge.lost && request.epoch == state.epoch);
        }
        true
    }

    fn commit(&self, state: &mut State, work: &Work, mut answer: Snapshot) -> Option<Writer> {
        if !self.setup.reads_back {
            // What it shows is as old as the write; it counts from the moment when it came.
            answer.version.read_at = clock(work.side, &self.setup, state.now);
        }
        let side = work.side;
        let Some(link) = self.owned(state, work) else { return Some(self.dies(state, work)) };
        match finish(link, side, work.token, &work.wanted, &answer, self.rules(work.epoch)) {
            Finish::Done { link, rest } => {
                state.link = link;
                state.judge.look_for_phantoms(&state.link);
                if let Some(rest) = rest {
                    state.publish(side, rest, work.epoch);
                }
                Some(Writer::Idle)
            }
            Finish::Fenced { link } => {
                state.link = link;
                state.asked[side] = Some(state.now);
                state.judge.unfinished();
                Some(Writer::Idle)
            }
            Finish::LostLease => Some(self.dies(state, work)),
        }
    }

    /// Nothing was carried out: the command goes back.
    fn takes_back(&self, state: &mut State, work: &Work) -> Writer {
        if let Some(link) = self.owned(state, work).and_then(|link| withdraw(link, work.side, work.token)) {
            state.link = link;
        }
        self.command(state, work.side);
        Writer::Idle
    }

    /// The request waits in some proxy, and nobody hears of it; the writer lives on if `lives`.
    pub fn leave_behind(&self, state: &mut State, writer: &Writer, lives: bool) -> Option<Writer> {
        let work = self.about_to_send(state, writer)?.clone();
        state.left_behind.push(work.request.clone());
        if lives
            && let Some(link) = self.owned(state, &work).and_then(|link| give_up(link, work.side, work.token, true))
        {
            state.link = link;
        }
        Some(self.dies(state, &work))
    }

    /// The request lands, and the writer dies before it hears of it.
    pub fn lose_answer(&self, state: &mut State, writer: &Writer) -> Option<Writer> {
        let work = self.about_to_send(state, writer)?.clone();
        self.land(state, &work.request);
        Some(self.dies(state, &work))
    }

    /// The work of a writer whose next step is to send its request.
    pub fn about_to_send<'w>(&self, state: &State, writer: &'w Writer) -> Option<&'w Work> {
        let work = match writer {
            Writer::Checked(work) => work,
            Writer::Begun(work) if work.request.base.is_some() && !self.setup.conditions[work.side].looks_first() => {
                work
            }
            _ => return None,
        };
        (state.now < work.send_until).then_some(work)
    }

    /// The broker delivers the command again; the intent stays.
    pub fn dies(&self, state: &mut State, work: &Work) -> Writer {
        state.judge.unfinished();
        self.command(state, work.side);
        Writer::Idle
    }

    /// Puts a command into the broker.
    pub fn command(&self, state: &mut State, side: Side) {
        state.commands[side] = (state.commands[side] + 1).min(self.setup.commands);
    }

    /// What a look at an account shows that counts from this moment on.
    pub fn look(&self, state: &State, side: Side, counts_from: i64) -> Snapshot {
        state.systems[side].look(side, &self.setup, counts_from)
    }

    /// The rules in an epoch.
    pub fn rules(&self, epoch: muster::domain::Epoch) -> &Rules {
        &self.rules[usize::try_from(epoch.0 - super::setup::FIRST_EPOCH.0).unwrap()]
    }
}
