//! Which check starts when, and what its end means: the prober without its thread, as a plain machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_health::{ActiveCheck, CheckChange, CheckState};
use evenkeel_types::{EndpointId, SplitMix64, Timestamp};
use tokio::sync::oneshot;

use crate::advice::Advice;
use crate::answer::Answer;
use crate::counts::Counts;
use crate::error::{ProbeConfigError, ProbeError};
use crate::probe::Prepared;
use crate::report::{LastResult, ProberReport, TargetReport};
use crate::sink::{Finding, Report, Sink};
use crate::target::{Notify, Target};

/// All targets and their deadlines. Operations on one target are O(log n).
pub(crate) struct Schedule {
    entries: BTreeMap<Token, Entry>,
    tokens: BTreeMap<EndpointId, Token>,
    deadlines: BTreeSet<(Timestamp, Token)>,
    /// Connections and commands: what each may run at a time, so that neither takes the other's places.
    lanes: [Lane; 2],
    /// Targets whose verdict may have changed without a result.
    news: VecDeque<Token>,
    next_number: Token,
    draws: SplitMix64,
    max_targets: usize,
    totals: Counts,
    running: usize,
    peak: usize,
}

/// Names one life of a target; never reused.
type Token = u64;

struct Entry {
    target: Target,
    prepared: Arc<Prepared>,
    check: ActiveCheck,
    /// What the sink knows.
    told: CheckState,
    advice: Advice,
    deadline: Timestamp,
    running: Option<Running>,
    waiting: Option<Place>,
    sink: Arc<dyn Sink>,
    last: Option<(Timestamp, Finding)>,
    counts: Counts,
}

struct Running {
    run: u64,
    /// Dropping it cancels the check.
    _cancel: oneshot::Sender<()>,
}

struct Lane {
    most: usize,
    running: usize,
    /// By the number of their arrival.
    queue: BTreeMap<u64, Token>,
}

/// Where a target waits.
#[derive(Clone, Copy)]
struct Place {
    lane: usize,
    number: u64,
}

/// A check to be run. Its end has to be told to [`Schedule::end`], whatever happens.
pub(crate) struct Start {
    token: Token,
    run: u64,
    lane: usize,
    pub(crate) prepared: Arc<Prepared>,
    /// Resolves when the check is not wanted any more.
    pub(crate) cancelled: oneshot::Receiver<()>,
}

/// What identifies a started check at its end.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    token: Token,
    run: u64,
    lane: usize,
}

impl Start {
    pub(crate) const fn ticket(&self) -> Ticket {
        Ticket { token: self.token, run: self.run, lane: self.lane }
    }
}

/// A report and who gets it.
pub(crate) type Delivery = (Arc<dyn Sink>, Report);

impl Schedule {
    pub(crate) fn new(max_in_flight: usize, max_commands: usize, max_targets: usize, seed: u64) -> Self {
        let lane = |most| Lane { most, running: 0, queue: BTreeMap::new() };
        Self {
            entries: BTreeMap::new(),
            tokens: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            lanes: [lane(max_in_flight), lane(max_commands)],
            news: VecDeque::new(),
            next_number: 0,
            draws: SplitMix64::new(seed),
            max_targets,
            totals: Counts::default(),
            running: 0,
            peak: 0,
        }
    }

    pub(crate) fn add(
        &mut self,
        target: Target,
        prepared: Arc<Prepared>,
        sink: Arc<dyn Sink>,
        now: Timestamp,
    ) -> Result<(), ProbeError> {
        check_intervals(&target)?;
        if self.tokens.contains_key(&target.id) {
            return Err(ProbeError::Duplicate(target.id));
        }
        if self.entries.len() >= self.max_targets {
            return Err(ProbeError::Full { max_targets: self.max_targets });
        }
        let check = ActiveCheck::new(target.check.clone(), now, &mut self.draws)?;
        let token = self.new_number();
        let deadline = check.next_deadline();
        self.tokens.insert(target.id.clone(), token);
        self.deadlines.insert((deadline, token));
        self.news.push_back(token);
        let entry = Entry {
            target,
            prepared,
            check,
            told: CheckState::Unknown,
            advice: Advice::default(),
            deadline,
            running: None,
            waiting: None,
            sink,
            last: None,
            counts: Counts::default(),
        };
        self.entries.insert(token, entry);
        Ok(())
    }

    /// Other settings for a target. If address or probe change, a running check is given up, since it is about something
    /// else, and a new one is due; the verdict stays until it has ended. If `check` changes, counting begins anew.
    pub(crate) fn update(
        &mut self,
        target: Target,
        prepared: Arc<Prepared>,
        now: Timestamp,
    ) -> Result<(), ProbeError> {
        check_intervals(&target)?;
        let unknown = || ProbeError::Unknown(target.id.clone());
        let token = *self.tokens.get(&target.id).ok_or_else(unknown)?;
        let entry = self.entries.get_mut(&token).ok_or_else(unknown)?;
        if entry.target.check != target.check {
            entry.check = ActiveCheck::new(target.check.clone(), now, &mut self.draws)?;
        }
        let elsewhere = entry.target.address != target.address || entry.target.probe != target.probe;
        entry.prepared = prepared;
        entry.target = target;
        if elsewhere {
            entry.running = None;
            // It may have waited in the other lane.
            let place = entry.waiting.take();
            self.leave_queue(place);
            self.enqueue(token);
        }
        self.news.push_back(token);
        self.reschedule(token, now);
        Ok(())
    }

    /// The target, and its sink, whose drop is user code.
    pub(crate) fn remove(&mut self, id: &EndpointId) -> Option<(Target, Arc<dyn Sink>)> {
        let token = self.tokens.remove(id)?;
        let entry = self.entries.remove(&token)?;
        self.deadlines.remove(&(entry.deadline, token));
        self.leave_queue(entry.waiting);
        Some((entry.target, entry.sink))
    }

    /// Forgets all targets. What they held comes back, since dropping a sink is user code.
    pub(crate) fn clear(&mut self) -> impl Sized + use<> {
        self.tokens.clear();
        self.deadlines.clear();
        self.news.clear();
        self.lanes.iter_mut().for_each(|lane| lane.queue.clear());
        std::mem::take(&mut self.entries)
    }

    /// Lets deadlines pass: claims the checks that are due, and notes verdicts that went stale.
    pub(crate) fn turn(&mut self, now: Timestamp) {
        while let Some(&(deadline, token)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            let Some(entry) = self.entries.get_mut(&token) else {
                self.deadlines.pop_first();
                continue;
            };
            if entry.check.tick(now).is_some() {
                self.news.push_back(token);
            }
            if entry.check.begin(now) {
                if entry.running.is_some() || entry.waiting.is_some() {
                    count_up(&mut entry.counts.skipped);
                    count_up(&mut self.totals.skipped);
                } else {
                    self.enqueue(token);
                }
            }
            self.reschedule(token, now);
        }
    }

    /// The next check to start, if one waits and there is room.
    pub(crate) fn start(&mut self) -> Option<Start> {
        for lane in 0..self.lanes.len() {
            while self.lanes[lane].running < self.lanes[lane].most {
                let Some((_, token)) = self.lanes[lane].queue.pop_first() else { break };
                let run = self.new_number();
                let Some(entry) = self.entries.get_mut(&token) else { continue };
                let (cancel, cancelled) = oneshot::channel();
                entry.waiting = None;
                entry.running = Some(Running { run, _cancel: cancel });
                self.lanes[lane].running += 1;
                self.running += 1;
                self.peak = self.peak.max(self.running);
                return Some(Start { token, run, lane, prepared: Arc::clone(&entry.prepared), cancelled });
            }
        }
        None
    }

    /// The end of a check. `None` as its answer if it was given up.
    pub(crate) fn end(
        &mut self,
        ticket: Ticket,
        answer: Option<Answer>,
        latency: Duration,
        now: Timestamp,
    ) -> Option<Delivery> {
        self.lanes[ticket.lane].running = self.lanes[ticket.lane].running.saturating_sub(1);
        self.running = self.running.saturating_sub(1);
        let entry = self.entries.get_mut(&ticket.token);
        let wanted = entry.filter(|entry| entry.running.as_ref().is_some_and(|mine| mine.run == ticket.run));
        let (Some(answer), Some(entry)) = (answer, wanted) else {
            count_up(&mut self.totals.cancelled);
            if let Some(entry) = self.entries.get_mut(&ticket.token) {
                count_up(&mut entry.counts.cancelled);
            }
            return None;
        };
        entry.running = None;
        entry.counts.add(answer.result);
        self.totals.add(answer.result);
        if let Some(result) = answer.result {
            let _ = entry.check.on_result(now, result);
        }
        let advice = entry.advice.overlaid_with(answer.advice);
        let advised = advice != entry.advice;
        entry.advice = advice;
        let finding = Finding { result: answer.result, reason: answer.reason, latency };
        entry.last = Some((now, finding.clone()));
        let report = entry.report(Some(finding), advised, now);
        self.reschedule(ticket.token, now);
        report
    }

    /// What changed without a result, one at a time.
    pub(crate) fn next_news(&mut self, now: Timestamp) -> Option<Delivery> {
        while let Some(token) = self.news.pop_front() {
            let report = self.entries.get_mut(&token).and_then(|entry| entry.report(None, false, now));
            if report.is_some() {
                return report;
            }
        }
        None
    }

    /// When [`turn`](Self::turn) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn targets(&self, now: Timestamp) -> Vec<TargetReport> {
        self.tokens.values().filter_map(|token| Some(self.entries.get(token)?.describe(now))).collect()
    }

    pub(crate) fn target(&self, id: &EndpointId, now: Timestamp) -> Option<TargetReport> {
        Some(self.entries.get(self.tokens.get(id)?)?.describe(now))
    }

    pub(crate) fn report(&self, sink_panics: u64) -> ProberReport {
        ProberReport {
            targets: self.entries.len(),
            in_flight: self.running,
            peak_in_flight: self.peak,
            waiting: self.lanes.iter().map(|lane| lane.queue.len()).sum(),
            counts: self.totals,
            sink_panics,
        }
    }

    fn enqueue(&mut self, token: Token) {
        let number = self.new_number();
        let Some(entry) = self.entries.get_mut(&token) else { return };
        let lane = usize::from(entry.prepared.is_command());
        entry.waiting = Some(Place { lane, number });
        self.lanes[lane].queue.insert(number, token);
    }

    fn leave_queue(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.lanes[place.lane].queue.remove(&place.number);
        }
    }

    fn reschedule(&mut self, token: Token, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&token) else { return };
        self.deadlines.remove(&(entry.deadline, token));
        // A deadline that has been served lies in the future; should a machine ever say otherwise, it must not spin.
        entry.deadline = entry.check.next_deadline().max(now.saturating_add(SHORTEST_INTERVAL / 2));
        self.deadlines.insert((entry.deadline, token));
    }

    fn new_number(&mut self) -> u64 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }
}

impl Entry {
    fn report(&mut self, finding: Option<Finding>, advised: bool, now: Timestamp) -> Option<Delivery> {
        let state = self.check.state(now);
        let change = (state != self.told).then_some(CheckChange { before: self.told, after: state });
        let wanted = self.target.notify == Notify::Results && finding.is_some();
        if change.is_none() && !advised && !wanted {
            return None;
        }
        self.told = state;
        let report = Report { id: self.target.id.clone(), state, change, finding, advice: self.advice };
        Some((Arc::clone(&self.sink), report))
    }

    fn describe(&self, now: Timestamp) -> TargetReport {
        TargetReport {
            id: self.target.id.clone(),
            address: self.target.address.clone(),
            state: self.check.state(now),
            last: self
                .last
                .as_ref()
                .map(|(at, finding)| LastResult { finding: finding.clone(), age: now.saturating_since(*at) }),
            advice: self.advice,
            counts: self.counts,
            running: self.running.is_some(),
            waiting: self.waiting.is_some(),
        }
    }
}

fn count_up(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// Shorter intervals are below what a timer can keep, and would occupy the thread with a single target.
fn check_intervals(target: &Target) -> Result<(), ProbeConfigError> {
    let check = &target.check;
    let given = [
        ("check.interval", Some(check.interval)),
        ("check.fast_interval", check.fast_interval),
        ("check.down_interval", check.down_interval),
    ];
    for (field, interval) in given {
        if let Some(interval) = interval.filter(|interval| *interval < SHORTEST_INTERVAL) {
            let value = format!("{interval:?}");
            return Err(ProbeConfigError::setting(field, value, "the shortest interval of a prober is 1 ms"));
        }
    }
    Ok(())
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
