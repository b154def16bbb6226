//! Which check starts when, and what its end means: the prober without its thread, as a plain machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_health::{ActiveCheck, CheckChange, CheckConfig, CheckResult, CheckState};
use evenkeel_types::{EndpointId, SplitMix64, Timestamp};
use tokio::sync::oneshot;

use crate::advice::Advice;
use crate::answer::Answer;
use crate::counts::Counts;
use crate::error::{ProbeConfigError, ProbeError};
use crate::evidence::{Evidence, Mailbox};
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
    /// What requests met, if somebody tells.
    evidence: Option<Evidence>,
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
        let check = ActiveCheck::new(settings(&target, &prepared), now, &mut self.draws)?;
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
            evidence: None,
        };
        self.entries.insert(token, entry);
        Ok(())
    }

    /// Other settings for a target. If address or probe change, a running check is given up, since it is about something
    /// else, and a new one is due; the verdict stays until it has ended. If `check` changes, what was found stays too.
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
        let settings = settings(&target, &prepared);
        if *entry.check.config() != settings {
            entry.check.set_config(settings, now)?;
        }
        if let Some(evidence) = &entry.evidence {
            evidence.set_limit(error_limit(&target.check));
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
    pub(crate) fn start(&mut self, now: Timestamp) -> Option<Start> {
        for lane in 0..self.lanes.len() {
            while self.lanes[lane].running < self.lanes[lane].most {
                let Some((_, token)) = self.lanes[lane].queue.pop_first() else { break };
                let run = self.new_number();
                let Some(entry) = self.entries.get_mut(&token) else { continue };
                let (cancel, cancelled) = oneshot::channel();
                entry.waiting = None;
                // Within its time it is no checker that died, and the clock that ends it may be late.
                entry.check.keep_until(now.saturating_add(entry.prepared.timeout.saturating_mul(2)));
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
        let mut entry =
            entry.filter(|entry| entry.running.as_ref().is_some_and(|mine| mine.run == ticket.run));
        if let Some(entry) = &mut entry {
            entry.running = None;
            entry.check.keep_until(Timestamp::ORIGIN);
        }
        let (Some(answer), Some(entry)) = (answer, entry) else {
            count_up(&mut self.totals.cancelled);
            if let Some(entry) = self.entries.get_mut(&ticket.token) {
                count_up(&mut entry.counts.cancelled);
            }
            return None;
        };
        entry.counts.add(answer.result);
        self.totals.add(answer.result);
        if let Some(result) = answer.result {
            let _ = entry.check.on_result(now, result);
        }
        if let (Some(CheckResult::Pass | CheckResult::Degraded), Some(evidence)) =
            (answer.result, &entry.evidence)
        {
            evidence.clear();
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

    /// Where the requests of a target are told.
    pub(crate) fn evidence(&mut self, id: &EndpointId, mailbox: &Arc<Mailbox>) -> Option<Evidence> {
        let token = *self.tokens.get(id)?;
        let entry = self.entries.get_mut(&token)?;
        let limit = error_limit(&entry.target.check);
        let made = || Evidence::new(token, limit, Arc::clone(mailbox));
        Some(entry.evidence.get_or_insert_with(made).clone())
    }

    /// Errors of requests came in a row, as many as the targets observe.
    pub(crate) fn convict(&mut self, runs: Vec<Token>, now: Timestamp) {
        for token in runs {
            let Some(entry) = self.entries.get_mut(&token) else { continue };
            if entry.check.on_error_run(now).is_some() {
                self.news.push_back(token);
            }
            if let Some(evidence) = &entry.evidence {
                evidence.heard();
            }
            self.reschedule(token, now);
        }
    }

    /// The cluster of these targets had a request.
    pub(crate) fn traffic<'i>(&mut self, ids: impl IntoIterator<Item = &'i EndpointId>, now: Timestamp) {
        for id in ids {
            let Some(&token) = self.tokens.get(id) else { continue };
            if let Some(entry) = self.entries.get_mut(&token) {
                entry.check.on_traffic(now);
                self.reschedule(token, now);
            }
        }
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
        // Its verdict is not to blame for a full house.
        entry.check.keep_until(Timestamp::MAX);
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

/// Its check, by which a verdict that nobody renews also waits for checks that take their time: a probe that is longer than
/// the interval delays the next result by as much.
fn settings(target: &Target, prepared: &Prepared) -> CheckConfig {
    let check = &target.check;
    let timed = CheckConfig { timeout: Some(check.timeout.unwrap_or(prepared.timeout)), ..check.clone() };
    let default = Some(timed.longest_age()).filter(|&age| age < Duration::MAX);
    CheckConfig { stale_after: check.stale_after.or(default), ..check.clone() }
}

/// How many errors of requests in a row are evidence; 0 if none are.
fn error_limit(check: &CheckConfig) -> u32 {
    check.observe.as_ref().map_or(0, |observe| observe.error_limit)
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

#[cfg(test)]
mod tests {
    use evenkeel_health::{CheckConfig, CheckResult, RiseFallConfig, Start as Begin};
    use evenkeel_types::{Address, Ratio};
    use proptest::prelude::*;

    use super::*;
    use crate::reason::Reason;
    use crate::tcp::TcpProbe;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn target(id: &str, port: u16) -> Target {
        let address: Address = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
        let check = CheckConfig {
            interval: Duration::from_millis(100),
            down_interval: Some(Duration::from_millis(200)),
            jitter: Ratio::ZERO,
            stale_after: Some(Duration::from_millis(350)),
            ..CheckConfig::default()
        };
        Target { check, ..Target::new(id.parse().unwrap(), address, TcpProbe::default()) }
    }

    fn schedule(max_in_flight: usize) -> Schedule {
        Schedule::new(max_in_flight, 1, 10, 1)
    }

    fn add(schedule: &mut Schedule, target: Target, now: Timestamp) -> Result<(), ProbeError> {
        let prepared = Prepared::new(&target.probe, &target.address).unwrap();
        schedule.add(target, prepared, Arc::new(|_: Report| ()), now)
    }

    fn update(schedule: &mut Schedule, target: Target, now: Timestamp) -> Result<(), ProbeError> {
        let prepared = Prepared::new(&target.probe, &target.address).unwrap();
        schedule.update(target, prepared, now)
    }

    fn end(schedule: &mut Schedule, start: &Start, answer: Option<Answer>, now: Timestamp) -> Option<Report> {
        schedule.end(start.ticket(), answer, Duration::from_millis(1), now).map(|(_, report)| report)
    }

    /// Lets the first deadline pass; when that was.
    fn due(schedule: &mut Schedule) -> Timestamp {
        let now = schedule.next_deadline().unwrap();
        schedule.turn(now);
        now
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum State {
        Idle,
        Waiting,
        Running,
        Gone,
    }

    fn state(schedule: &Schedule) -> State {
        match schedule.target(&"a".parse().unwrap(), at(0)) {
            None => State::Gone,
            Some(report) if report.running => State::Running,
            Some(report) if report.waiting => State::Waiting,
            Some(_) => State::Idle,
        }
    }

    /// A schedule with one target in this state, and its running check.
    fn reach(wanted: State) -> (Schedule, Option<Start>, Timestamp) {
        let mut schedule = schedule(1);
        let mut now = at(0);
        let mut running = None;
        if wanted != State::Gone {
            add(&mut schedule, target("a", 1), now).unwrap();
        }
        if matches!(wanted, State::Waiting | State::Running) {
            now = due(&mut schedule);
        }
        if wanted == State::Running {
            running = schedule.start(now);
        }
        assert_eq!(state(&schedule), wanted);
        (schedule, running, now)
    }

    /// ```text
    ///           due         start     end       update  elsewhere  remove
    /// Idle      Waiting     –         –         Idle    Waiting    Gone
    /// Waiting   Waiting (1) Running   –         Waiting Waiting    Gone
    /// Running   Running (1) –         Idle      Running Waiting    Gone
    /// Gone      –           –         –         error   error      –
    /// ```
    ///
    /// (1) A turn was left out, and is counted.
    #[test]
    fn every_state_and_event() {
        use State::{Gone, Idle, Running, Waiting};
        let table = [
            (Idle, [Waiting, Idle, Idle, Idle, Waiting, Gone]),
            (Waiting, [Waiting, Running, Waiting, Waiting, Waiting, Gone]),
            (Running, [Running, Running, Idle, Running, Waiting, Gone]),
            (Gone, [Gone; 6]),
        ];
        for (before, expected) in table {
            for (event, after) in expected.into_iter().enumerate() {
                let (mut schedule, running, now) = reach(before);
                let mut skipped = 0;
                match event {
                    0 if before != Gone => {
                        due(&mut schedule);
                        skipped = u64::from(before != Idle);
                    }
                    1 => drop(schedule.start(now)),
                    2 => {
                        if let Some(start) = &running {
                            let report = end(&mut schedule, start, Some(Answer::pass()), now).unwrap();
                            assert_eq!(report.state, CheckState::Up);
                        }
                    }
                    3 => assert_eq!(update(&mut schedule, target("a", 1), now).is_ok(), before != Gone),
                    4 => assert_eq!(update(&mut schedule, target("a", 2), now).is_ok(), before != Gone),
                    5 => assert_eq!(schedule.remove(&"a".parse().unwrap()).is_some(), before != Gone),
                    _ => {}
                }
                if event != 1 || before != Waiting {
                    assert_eq!(state(&schedule), after, "{before:?}, event {event}");
                }
                assert_eq!(schedule.totals.skipped, skipped, "{before:?}, event {event}");
                let cancelled = before == Running && matches!(event, 4 | 5);
                let mut running = running;
                let given_up = running.as_mut().is_some_and(|start| {
                    start.cancelled.try_recv() != Err(oneshot::error::TryRecvError::Empty)
                });
                assert!(!cancelled || given_up, "{before:?}, event {event}");
                // Whatever happened, the place comes back.
                if let (Some(start), true) = (&running, event != 2) {
                    let report = end(&mut schedule, start, Some(Answer::pass()), now);
                    assert_eq!(report.is_none(), cancelled);
                    assert_eq!(schedule.running(), 0);
                }
            }
        }
    }

    #[test]
    fn at_most_so_many_run_and_the_first_due_goes_first() {
        let mut schedule = schedule(2);
        for (id, port) in [("a", 1), ("b", 2), ("c", 3)] {
            add(&mut schedule, target(id, port), at(0)).unwrap();
        }
        schedule.turn(at(99));
        let order: Vec<_> = schedule.lanes[0].queue.values().copied().collect();
        let first = schedule.start(at(99)).unwrap();
        let second = schedule.start(at(99)).unwrap();
        assert!(schedule.start(at(99)).is_none(), "two places");
        assert_eq!((first.token, second.token), (order[0], order[1]));
        assert_eq!(schedule.report(0).waiting, 1);
        let _ = end(&mut schedule, &second, Some(Answer::pass()), at(100));
        assert_eq!(schedule.start(at(100)).map(|start| start.token), Some(order[2]));
        assert_eq!(schedule.report(0).peak_in_flight, 2);
    }

    #[test]
    fn a_shortage_here_is_no_verdict_and_a_verdict_goes_stale() {
        let (mut schedule, start, now) = reach(State::Running);
        let report = end(&mut schedule, &start.unwrap(), Some(Answer::pass()), now).unwrap();
        assert_eq!(report.change.map(|change| change.after), Some(CheckState::Up));
        let last = now;
        loop {
            let now = due(&mut schedule);
            if let Some((_, report)) = schedule.next_news(now) {
                assert_eq!(now, last.saturating_add(Duration::from_millis(350)));
                assert_eq!((report.state, report.finding), (CheckState::Unknown, None));
                break;
            }
            let Some(start) = schedule.start(now) else { continue };
            let shortage = Answer::fail(Reason::Local(crate::excerpt::Excerpt::of("too many open files")));
            assert_eq!(end(&mut schedule, &start, Some(shortage), now), None, "it is no news");
        }
        assert_eq!((schedule.totals.failed, schedule.totals.inconclusive), (0, 3));
    }

    #[test]
    fn a_verdict_goes_stale_while_a_check_hangs() {
        let (mut schedule, start, now) = reach(State::Running);
        let _ = end(&mut schedule, &start.unwrap(), Some(Answer::pass()), now);
        let begun = due(&mut schedule);
        let hanging = schedule.start(begun).unwrap();
        let stale = (0..100).find_map(|_| {
            let now = due(&mut schedule);
            schedule.next_news(now).map(|(_, report)| (now, report.state))
        });
        // Twice the second that its probe has: by then somebody should have ended it.
        assert_eq!(stale, Some((begun.saturating_add(Duration::from_secs(2)), CheckState::Unknown)));
        assert_eq!(state(&schedule), State::Running);
        drop(hanging);
    }

    /// Every check of a target ends after this long with a failure, and `others` keep it waiting as long before: what its
    /// sink hears.
    fn states_of_a_black_hole(check: CheckConfig, takes: u64, waits: u64) -> Vec<CheckState> {
        let mut schedule = schedule(1);
        let probe = TcpProbe { timeout: Duration::from_millis(takes), ..TcpProbe::default() };
        let mut target = target("a", 1);
        (target.check, target.probe) = (check, probe.into());
        add(&mut schedule, target, at(0)).unwrap();
        let (mut heard, mut ends, mut starts) = (Vec::new(), None, None);
        for millis in 0..40_000 {
            let now = at(millis);
            schedule.turn(now);
            if ends.as_ref().is_some_and(|(at, _)| *at <= now)
                && let Some((_, start)) = ends.take()
            {
                let timed_out = Answer::fail(Reason::TimedOut(crate::reason::Phase::Connect));
                heard.extend(end(&mut schedule, &start, Some(timed_out), now));
            }
            if state(&schedule) == State::Waiting {
                let begin = *starts.get_or_insert(at(millis + waits));
                if begin <= now {
                    let start = schedule.start(now).unwrap();
                    (starts, ends) = (None, Some((at(millis + takes), start)));
                }
            }
            while let Some((_, report)) = schedule.next_news(now) {
                heard.push(report);
            }
        }
        heard.into_iter().map(|report| report.state).collect()
    }

    #[test]
    fn a_slow_check_keeps_a_dead_endpoint_down() {
        let every = |millis| CheckConfig {
            interval: Duration::from_millis(millis),
            jitter: Ratio::ZERO,
            ..CheckConfig::default()
        };
        assert_eq!(
            states_of_a_black_hole(every(100), 2_000, 0),
            [CheckState::Down],
            "longer than stale_after"
        );
        assert_eq!(states_of_a_black_hole(every(2_000), 1_000, 12_000), [CheckState::Down], "a long queue");
        let soon = CheckConfig { stale_after: Some(Duration::from_millis(150)), ..every(100) };
        assert_eq!(states_of_a_black_hole(soon, 2_000, 500), [CheckState::Down], "a short stale_after");
    }

    #[test]
    fn a_single_shortage_makes_no_slow_target_unknown() {
        let mut schedule = schedule(1);
        let probe = TcpProbe { timeout: Duration::from_millis(900), ..TcpProbe::default() };
        let mut target = Target { probe: probe.into(), ..target("a", 1) };
        target.check.stale_after = None;
        add(&mut schedule, target, at(0)).unwrap();
        let mut now = due(&mut schedule);
        let shortage = || Answer::fail(Reason::Local(crate::excerpt::Excerpt::of("none left")));
        for (answer, state) in [(Answer::pass(), CheckState::Up), (shortage(), CheckState::Up)] {
            let start = schedule.start(now).unwrap();
            now = now.saturating_add(Duration::from_millis(900));
            schedule.turn(now);
            let _ = end(&mut schedule, &start, Some(answer), now);
            assert_eq!(schedule.targets(now)[0].state, state);
            now = due(&mut schedule);
            assert_eq!(schedule.targets(now)[0].state, state);
        }
    }

    #[test]
    fn traffic_shortens_the_wait() {
        let mut schedule = schedule(1);
        let mut target = target("a", 1);
        target.check.stale_after = None;
        target.check.no_traffic_interval = Some(Duration::from_secs(10));
        add(&mut schedule, target, at(0)).unwrap();
        let mut now = due(&mut schedule);
        assert!(now < at(100), "the first check waits for nobody");
        let pass = |schedule: &mut Schedule, now| {
            let start = schedule.start(now).unwrap();
            let _ = end(schedule, &start, Some(Answer::pass()), now);
            schedule.next_deadline().unwrap().saturating_since(now)
        };
        assert_eq!(pass(&mut schedule, now), Duration::from_secs(10));
        let ids = ["a".parse().unwrap(), "nobody".parse().unwrap()];
        schedule.traffic(&ids, now);
        assert_eq!(schedule.next_deadline(), Some(now.saturating_add(Duration::from_millis(100))));
        now = due(&mut schedule);
        assert_eq!(pass(&mut schedule, now), Duration::from_millis(100));
    }

    #[test]
    fn errors_of_requests_count_where_they_are_observed() {
        use evenkeel_health::{ObserveConfig, OnError};
        let mailbox = Arc::new(Mailbox::default());
        let (mut schedule, start, now) = reach(State::Running);
        let _ = end(&mut schedule, &start.unwrap(), Some(Answer::pass()), now);
        assert!(schedule.evidence(&"b".parse().unwrap(), &mailbox).is_none());
        let evidence = schedule.evidence(&"a".parse().unwrap(), &mailbox).unwrap();
        let errors = |count: usize| (0..count).for_each(|_| evidence.request(false));
        errors(100);
        assert!(mailbox.take().is_empty(), "nobody observes");
        let mut observing = target("a", 1);
        observing.check.observe = Some(ObserveConfig { error_limit: 5, on_error: OnError::MarkDown });
        update(&mut schedule, observing, now).unwrap();
        assert!(schedule.next_news(now).is_none());
        errors(4);
        due(&mut schedule);
        let start = schedule.start(now).unwrap();
        let _ = end(&mut schedule, &start, Some(Answer::pass()), now);
        errors(4);
        assert!(mailbox.take().is_empty(), "a passing check clears the count");
        errors(3);
        schedule.convict(mailbox.take(), now);
        assert_eq!(schedule.next_news(now).unwrap().1.state, CheckState::Down);
        errors(5);
        schedule.convict(mailbox.take(), now);
        assert!(schedule.next_news(now).is_none());
        schedule.remove(&"a".parse().unwrap());
        errors(5);
        schedule.convict(mailbox.take(), now);
    }

    #[test]
    fn another_interval_forgets_no_verdict() {
        let (mut schedule, start, now) = reach(State::Running);
        let refused = Answer::fail(Reason::Refused);
        assert_eq!(end(&mut schedule, &start.unwrap(), Some(refused), now).unwrap().state, CheckState::Down);
        let mut slower = target("a", 1);
        slower.check.interval = Duration::from_millis(150);
        update(&mut schedule, slower, now).unwrap();
        assert!(schedule.next_news(now).is_none());
        assert_eq!(schedule.targets(now)[0].state, CheckState::Down);
    }

    #[test]
    fn a_configured_start_is_told() {
        let mut schedule = schedule(1);
        let mut up = target("a", 1);
        up.check.thresholds = RiseFallConfig { start: Begin::FullyUp, ..RiseFallConfig::default() };
        add(&mut schedule, up, at(0)).unwrap();
        let (_, report) = schedule.next_news(at(0)).unwrap();
        assert_eq!((report.state, report.finding), (CheckState::Up, None));
        assert!(schedule.next_news(at(0)).is_none());
        // Other settings begin anew, and that is news too.
        update(&mut schedule, target("a", 1), at(1)).unwrap();
        assert_eq!(schedule.next_news(at(1)).unwrap().1.state, CheckState::Unknown);
    }

    #[test]
    fn refusals_change_nothing() {
        let mut schedule = Schedule::new(1, 1, 1, 1);
        add(&mut schedule, target("a", 1), at(0)).unwrap();
        let id: EndpointId = "a".parse().unwrap();
        assert_eq!(add(&mut schedule, target("a", 2), at(0)), Err(ProbeError::Duplicate(id)));
        assert_eq!(add(&mut schedule, target("b", 2), at(0)), Err(ProbeError::Full { max_targets: 1 }));
        let missing = update(&mut schedule, target("b", 2), at(0));
        assert_eq!(missing, Err(ProbeError::Unknown("b".parse().unwrap())));
        let mut hasty = target("a", 1);
        hasty.check.fast_interval = Some(Duration::from_micros(999));
        let error = update(&mut schedule, hasty, at(0)).unwrap_err().to_string();
        assert!(error.starts_with("check.fast_interval: \"999µs\" is not allowed"), "{error}");
        let mut jumpy = target("a", 1);
        jumpy.check.jitter = Ratio::ONE;
        assert!(matches!(update(&mut schedule, jumpy, at(0)), Err(ProbeError::Check(_))));
        assert_eq!(schedule.targets(at(0))[0].address.port(), Some(1));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Turn(u64),
        Add(u8, u16),
        Update(u8, u16),
        Remove(u8),
        Start,
        End(u8, Option<u8>),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0_u64..150).prop_map(Event::Turn),
            2 => (0_u8..6, 1_u16..3).prop_map(|(id, port)| Event::Add(id, port)),
            1 => (0_u8..6, 1_u16..3).prop_map(|(id, port)| Event::Update(id, port)),
            1 => (0_u8..6).prop_map(Event::Remove),
            4 => Just(Event::Start),
            4 => (any::<u8>(), proptest::option::of(0_u8..4)).prop_map(|(at, answer)| Event::End(at, answer)),
        ]
    }

    fn answer(kind: u8) -> Answer {
        let result = [Some(CheckResult::Pass), Some(CheckResult::Fail), Some(CheckResult::FailAtOnce), None]
            [usize::from(kind)];
        Answer { result, ..Answer::pass() }
    }

    /// What a run of events leads to, with what must hold after each.
    fn play(events: &[Event], backwards: bool) -> Vec<String> {
        let mut schedule = schedule(3);
        let (mut now, mut running, mut told) = (at(1_000), Vec::new(), Vec::new());
        for event in events {
            let seen = match event {
                Event::Turn(millis) => {
                    now = now.saturating_add(Duration::from_millis(*millis));
                    let seen = if backwards && millis % 3 == 0 { at(1) } else { now };
                    schedule.turn(seen);
                    seen
                }
                Event::Add(id, port) => {
                    let _ = add(&mut schedule, target(&id.to_string(), *port), now);
                    now
                }
                Event::Update(id, port) => {
                    let _ = update(&mut schedule, target(&id.to_string(), *port), now);
                    now
                }
                Event::Remove(id) => {
                    schedule.remove(&id.to_string().parse().unwrap());
                    now
                }
                Event::Start => {
                    running.extend(schedule.start(now));
                    now
                }
                Event::End(at, kind) => {
                    if !running.is_empty() {
                        let start = running.remove(usize::from(*at) % running.len());
                        let report = end(&mut schedule, &start, kind.map(answer), now);
                        told.push(format!("{report:?}"));
                    }
                    now
                }
            };
            while let Some((_, report)) = schedule.next_news(seen) {
                told.push(format!("{report:?}"));
            }
            assert!(schedule.running() <= 3 && schedule.running() == running.len());
            assert_eq!(schedule.deadlines.len(), schedule.entries.len());
            let waiting: usize = schedule.lanes.iter().map(|lane| lane.queue.len()).sum();
            assert_eq!(waiting, schedule.entries.values().filter(|entry| entry.waiting.is_some()).count());
        }
        // Nothing is stuck: with places free, everybody gets a turn within an interval, and ends up.
        for start in running.drain(..) {
            let _ = end(&mut schedule, &start, None, now);
        }
        assert_eq!(schedule.running(), 0);
        for _ in 0..12 {
            now = now.saturating_add(Duration::from_millis(200));
            schedule.turn(now);
            while let Some(start) = schedule.start(now) {
                let _ = end(&mut schedule, &start, Some(Answer::pass()), now);
            }
        }
        assert!(schedule.targets(now).iter().all(|target| target.state == CheckState::Up));
        told
    }

    proptest! {
        #[test]
        fn no_sequence_loses_a_place_or_a_target(events in proptest::collection::vec(event(), 0..80), backwards: bool) {
            prop_assert_eq!(play(&events, backwards), play(&events, backwards), "the same events, the same reports");
        }
    }
}
