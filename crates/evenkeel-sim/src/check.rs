//! Reads scenarios, and refuses impossible ones before anything runs.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel::Priority;
use toml::{Table, Value};

use crate::arrivals::Shape;
use crate::error::{Invalid, ScenarioError};
use crate::scenario::{Discipline, Scenario, ServersConfig};
use crate::work::{not_long, positive};

/// A scenario at one value of its sweep.
#[derive(Clone, Debug)]
pub struct Case {
    /// `field = value`; empty without a sweep.
    pub label: String,
    /// The scenario with that value.
    pub scenario: Scenario,
}

impl Scenario {
    /// Reads TOML, and makes a checked scenario for each value of the sweep.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] names the line or the field, and what is allowed there.
    pub fn cases(text: &str) -> Result<Vec<Case>, ScenarioError> {
        let mut scenario: Self = toml::from_str(text).map_err(|error| told(&error))?;
        let Some(sweep) = &scenario.sweep else {
            scenario.scan_log()?;
            scenario.check()?;
            return Ok(vec![Case { label: String::new(), scenario }]);
        };
        let value = format!("{:?}", sweep.field);
        let is_fine = !sweep.values.is_empty() && sweep.values.len() <= MOST_CASES;
        Invalid::unless(is_fine, "sweep.values", sweep.values.len(), "1 to 100 values")?;
        let plain: Table = toml::from_str(text).map_err(|error| told(&error))?;
        let cases = sweep.values.iter().map(|wanted| {
            let mut table = plain.clone();
            set(&mut table, &sweep.field, wanted.clone())
                .ok_or_else(|| Invalid::new("sweep.field", &value, "allowed is the path of a field"))?;
            let mut scenario: Self = table.try_into().map_err(|error| told(&error))?;
            scenario.scan_log()?;
            scenario.check()?;
            Ok(Case { label: format!("{} = {wanted}", sweep.field), scenario })
        });
        cases.collect()
    }

    /// The numbers that `seeds` names.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Seeds`] if it names none, or more than 1000.
    pub fn seeds(text: &str) -> Result<Vec<u64>, ScenarioError> {
        let wrong = || ScenarioError::Seeds(text.to_owned());
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
            let (first, last) = (number(first)?, number(last)?);
            if last < first || last - first >= MOST_SEEDS {
                return Err(wrong());
            }
            seeds.extend(first..=last);
        }
        // A seed that counts twice would make differences look surer than they are.
        let distinct: BTreeSet<u64> = seeds.iter().copied().collect();
        if seeds.len() as u64 > MOST_SEEDS || distinct.len() < seeds.len() { Err(wrong()) } else { Ok(seeds) }
    }

    /// How many servers there are.
    #[must_use]
    pub fn server_count(&self) -> u32 {
        self.servers.iter().fold(0, |sum, group| sum.saturating_add(group.count))
    }

    /// When requests begin to be counted.
    #[must_use]
    pub fn counted_from(&self) -> Duration {
        self.warm_up.unwrap_or(self.duration / 3)
    }

    /// Arrivals a second, before the shape.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let base = match (self.arrivals.rate, self.arrivals.load) {
            (Some(rate), _) => rate,
            (None, load) => {
                load.unwrap_or_default() * self.capacity(ServersConfig::nominal) / f64::from(self.fan_out)
            }
        };
        base * self.arrivals.times
    }

    /// The share of what the servers can do on average, neighbours reckoned with, that is asked of them; 0 where a group
    /// is a pure delay, which can do anything.
    #[must_use]
    pub fn load(&self) -> f64 {
        let asked = self.rate() * f64::from(self.fan_out) * self.arrivals.mean_factor(self.duration);
        asked / self.capacity(ServersConfig::effective)
    }

    /// Requests a second that the servers can do.
    fn capacity(&self, of: impl Fn(&ServersConfig) -> f64) -> f64 {
        let groups = self.servers.iter().map(|group| {
            let work = group.work.as_ref().unwrap_or(&self.work);
            of(group) * f64::from(group.count) * 1e9 / work.mean()
        });
        groups.sum()
    }

    /// # Errors
    ///
    /// [`ScenarioError`] names the field, and what is allowed there.
    pub fn check(&self) -> Result<(), ScenarioError> {
        Invalid::unless(!self.name.is_empty(), "name", "\"\"", "a name")?;
        positive("duration", self.duration)?;
        let time = |field: &str, time: Option<Duration>| time.map_or(Ok(()), |time| positive(field, time));
        time("timeout", self.timeout)?;
        time("objective", self.objective)?;
        time("series", self.series)?;
        not_long("network", self.network)?;
        not_long("cross_zone", self.cross_zone)?;
        let warm_up = self.counted_from();
        let is_fine = warm_up < self.duration;
        Invalid::unless(is_fine, "warm_up", format_args!("{warm_up:?}"), "less than the duration")?;
        Self::seeds(&self.seeds)?;
        Invalid::unless((1..=10_000).contains(&self.fan_out), "fan_out", self.fan_out, "1 to 10000")?;
        let clients = self.clients.count;
        Invalid::unless((1..=10_000).contains(&clients), "clients.count", clients, "1 to 10000")?;
        if let Some(keys) = &self.keys {
            let is_fine = (1..=10_000_000).contains(&keys.count);
            Invalid::unless(is_fine, "keys.count", keys.count, "1 to 10000000")?;
            Invalid::unless((0.0..=10.0).contains(&keys.zipf), "keys.zipf", keys.zipf, "0 to 10")?;
        }
        self.arrivals.check()?;
        self.work.check("work")?;
        self.check_servers()?;
        self.check_events()?;
        self.check_series()?;
        for (index, window) in self.windows.iter().enumerate() {
            let field = format!("windows.{index}.to");
            let value = format_args!("{:?}", window.to).to_string();
            Invalid::unless(window.from < window.to, &field, value, "later than `from`")?;
            self.begins_in_time(&format!("windows.{index}.from"), window.from)?;
        }
        self.check_load()
    }

    fn check_servers(&self) -> Result<(), Invalid> {
        let is_fine = (1..=100_000).contains(&self.server_count());
        Invalid::unless(is_fine, "servers", self.server_count(), "1 to 100000 servers in all")?;
        let connections = u64::from(self.server_count()) * u64::from(self.clients.count);
        let is_fine = connections <= 10_000_000;
        Invalid::unless(is_fine, "clients.count", self.clients.count, "10000000 ÷ the number of servers")?;
        for (index, group) in self.servers.iter().enumerate() {
            group.check(&format!("servers.{index}"))?;
        }
        let is_fine = self.servers.iter().any(|group| group.weight > 0);
        Invalid::unless(is_fine, "servers.0.weight", 0, "1 or more, in one group at least")
    }

    fn check_events(&self) -> Result<(), Invalid> {
        for (index, fault) in self.faults.iter().enumerate() {
            fault.check(&format!("faults.{index}"), self.server_count())?;
            self.begins_in_time(&format!("faults.{index}.from"), fault.from)?;
        }
        if let Some(deploy) = &self.deploy {
            deploy.check()?;
            self.begins_in_time("deploy.from", deploy.from)?;
        }
        if let Shape::FlashCrowd { at, .. } = self.arrivals.shape {
            self.begins_in_time("arrivals.shape.at", at)?;
        }
        let Some(scaling) = &self.scaling else { return Ok(()) };
        scaling.check(self.server_count())?;
        let is_busy = self.servers.iter().all(|group| group.discipline != Discipline::Delay);
        Invalid::unless(is_busy, "scaling", "set", "none, where a discipline is delay: no core is ever busy")
    }

    /// What begins after the end never happens, and a scenario that says so means something else.
    fn begins_in_time(&self, field: &str, at: Duration) -> Result<(), Invalid> {
        let value = format!("{at:?}");
        Invalid::unless(at < self.duration, field, value, "less than the duration")
    }

    /// A report has room for so much.
    fn check_series(&self) -> Result<(), Invalid> {
        let Some(step) = self.series else { return Ok(()) };
        let steps = self.duration.as_nanos() / step.as_nanos().max(1);
        let is_fine = steps <= 5_000 && steps * u128::from(self.server_count()) <= 1_000_000;
        let value = format!("{step:?}");
        Invalid::unless(is_fine, "series", value, "at most 5000 steps, and a million for all servers")
    }

    fn check_load(&self) -> Result<(), ScenarioError> {
        let load = self.load();
        let sheds = self.timeout.is_some() && self.timeout_cancels
            || self.servers.iter().all(|group| group.queue_limit.is_some())
            || self.defaults.limit.is_some()
            || self.defaults.endpoint_limit.is_some();
        if self.arrivals.load.is_some() && !self.rate().is_finite() {
            let allowed =
                "a rate: servers whose discipline is delay can do anything, and no share of that is a number";
            Invalid::unless(false, "arrivals.load", "set", allowed)?;
        }
        if load < 1.0 || sheds || self.allow_overload {
            return Ok(());
        }
        Err(ScenarioError::Overload { percent: (load * 100.0) as u64 })
    }
}

impl ServersConfig {
    fn check(&self, path: &str) -> Result<(), Invalid> {
        let field = |name: &str| format!("{path}.{name}");
        let number = |name: &str, value: f64, most: f64| {
            let is_fine = value > 0.0 && value <= most;
            Invalid::unless(is_fine, &field(name), value, &format!("above 0, to {most}"))
        };
        Invalid::unless(self.count > 0, &field("count"), self.count, "1 or more")?;
        number("cores", self.cores, 1e6)?;
        number("slowdown", self.slowdown, 1e6)?;
        let is_whole = self.discipline != Discipline::Fifo || self.cores.fract() == 0.0;
        Invalid::unless(is_whole, &field("cores"), self.cores, "a whole number, where discipline is fifo")?;
        Invalid::unless(self.concurrency != Some(0), &field("concurrency"), 0, "1 or more")?;
        let is_fine = self.concurrency.is_none() || self.discipline != Discipline::Delay;
        Invalid::unless(is_fine, &field("concurrency"), "set", "none, where discipline is delay")?;
        Invalid::unless(self.queue_limit != Some(0), &field("queue_limit"), 0, "1 or more")?;
        let is_fine = Priority::new(self.priority).is_ok();
        Invalid::unless(is_fine, &field("priority"), self.priority, "0 to 128")?;
        if let Some(work) = &self.work {
            work.check(&field("work"))?;
        }
        let Some(antagonist) = &self.antagonist else { return Ok(()) };
        let is_fine = self.discipline != Discipline::Delay;
        Invalid::unless(is_fine, &field("antagonist"), "set", "none, where discipline is delay")?;
        positive(&field("antagonist.every"), antagonist.every)?;
        let is_fine = !antagonist.states.is_empty();
        Invalid::unless(is_fine, &field("antagonist.states"), "[]", "one state or more")?;
        for (index, state) in antagonist.states.iter().enumerate() {
            let own = |name: &str| format!("antagonist.states.{index}.{name}");
            number(&own("share"), state.share, 1e6)?;
            for (name, range) in [("cores", state.cores), ("slowdown", state.slowdown)] {
                let Some([from, to]) = range else { continue };
                number(&own(name), from, 1e6)?;
                number(&own(name), to, 1e6)?;
                Invalid::unless(from <= to, &field(&own(name)), from, "at most the second number")?;
            }
        }
        Ok(())
    }

    /// Of so many cores those that can be busy: not more than requests are served at a time.
    fn busy(&self, cores: f64) -> f64 {
        let places = match (self.concurrency, self.discipline) {
            (Some(places), _) => f64::from(places),
            (None, Discipline::Fifo) => self.cores,
            (None, _) => f64::INFINITY,
        };
        cores.min(places)
    }

    /// Cores ÷ slowdown as they are written.
    fn nominal(&self) -> f64 {
        match self.discipline {
            Discipline::Delay => f64::INFINITY,
            Discipline::Fifo | Discipline::Sharing => self.busy(self.cores) / self.slowdown,
        }
    }

    /// The mean over the states of the antagonist.
    fn effective(&self) -> f64 {
        let Some(antagonist) = &self.antagonist else { return self.nominal() };
        let total: f64 = antagonist.states.iter().map(|state| state.share).sum();
        let states = antagonist.states.iter().map(|state| {
            let middle =
                |range: Option<[f64; 2]>, own: f64| range.map_or(own, |[from, to]| (from + to) / 2.0);
            state.share * self.busy(middle(state.cores, self.cores)) / middle(state.slowdown, self.slowdown)
        });
        states.sum::<f64>() / total
    }
}

/// Sets the field at a path. `None` if there is no such place.
fn set(table: &mut Table, path: &str, value: Value) -> Option<()> {
    let mut keys = path.split('.').peekable();
    let first = keys.next()?;
    if keys.peek().is_none() {
        table.insert(first.to_owned(), value);
        return Some(());
    }
    let mut place = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    while let Some(key) = keys.next() {
        let is_last = keys.peek().is_none();
        place = match place {
            Value::Array(array) => array.get_mut(key.parse::<usize>().ok()?)?,
            Value::Table(table) if is_last => {
                table.insert(key.to_owned(), value);
                return Some(());
            }
            Value::Table(table) => table.entry(key).or_insert_with(|| Value::Table(Table::new())),
            _ => return None,
        };
        if is_last {
            *place = value;
            return Some(());
        }
    }
    None
}

fn told(error: &toml::de::Error) -> ScenarioError {
    ScenarioError::Text(error.to_string().trim_end().to_owned())
}

const MOST_CASES: usize = 100;
const MOST_SEEDS: u64 = 1000;
