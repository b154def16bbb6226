//! What a breaker holds beside its state word, by what its rules need.

use std::sync::Arc;

use crate::gauge::Gauge;
use crate::owner::Owner;
use crate::ramp::Return;
use crate::row::Row;
use crate::rules::{Bad, GaugeRule, Measure};
use crate::sync::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::verdicts::Verdicts;
use crate::window::{CountWindow, Shape, TimeShape, TimeWindow, Window};
use crate::{Combine, Forget, Rules};

/// One of four sizes. The tag, the two small counts and the pointer are 16 bytes together.
pub(crate) enum Body {
    /// Failures in a row, one probe at a time, waits that do not change: nothing on the heap.
    Plain { opened: AtomicU16, row: Row, rules: Arc<Rules> },
    /// One ratio over ten buckets of time besides: 96 bytes on the heap.
    Ten { opened: AtomicU16, row: Row, ten: Box<Ten> },
    /// One ratio over the last requests besides: 40 bytes on the heap, and 8 for each 49 requests.
    Counted { opened: AtomicU16, row: Row, counted: Box<Counted> },
    /// Everything else.
    Rich { opened: AtomicU16, row: Row, more: Box<More> },
}

pub(crate) struct Ten {
    pub(crate) rules: Arc<Rules>,
    pub(crate) window: TimeWindow<[AtomicU64; 10]>,
}

pub(crate) struct Counted {
    pub(crate) rules: Arc<Rules>,
    pub(crate) window: CountWindow,
}

/// What only some configurations need.
pub(crate) struct More {
    pub(crate) rules: Arc<Rules>,
    /// The first and mostly only one lies here, one step nearer: an atomic addition waits for each.
    pub(crate) first: Option<Gauge>,
    pub(crate) further: Box<[Gauge]>,
    pub(crate) probes: Box<[AtomicU64]>,
    pub(crate) extras: Option<Box<Extras>>,
    /// A success concerns one window of failures and nothing else.
    pub(crate) quick: bool,
    /// A permit of the closed state knows when it was issued.
    pub(crate) timed: bool,
}

/// What only few need.
pub(crate) struct Extras {
    pub(crate) salt: u64,
    /// How often in a row it has opened.
    pub(crate) attempt: AtomicU32,
    pub(crate) clean_run: AtomicU32,
    pub(crate) clean_since: AtomicU64,
    pub(crate) ramp: Return,
    pub(crate) verdicts: Verdicts,
    pub(crate) dry: Option<Box<Dry>>,
}

/// What a dry run counts.
pub(crate) struct Dry {
    pub(crate) until: AtomicU64,
    pub(crate) owner: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) refused_ok: AtomicU64,
    pub(crate) latest: AtomicU64,
    pub(crate) regressions: AtomicU64,
}

impl Body {
    pub(crate) fn new(rules: &Arc<Rules>, salt: u64) -> Self {
        let (opened, row) = (AtomicU16::new(0), Row::new());
        match Size::of(rules) {
            Size::Plain => Self::Plain { opened, row, rules: Arc::clone(rules) },
            Size::Ten(_) => {
                let ten = Ten { rules: Arc::clone(rules), window: TimeWindow::ten() };
                Self::Ten { opened, row, ten: Box::new(ten) }
            }
            Size::Counted(size) => {
                let counted = Counted { rules: Arc::clone(rules), window: CountWindow::new(size) };
                Self::Counted { opened, row, counted: Box::new(counted) }
            }
            Size::Rich => {
                Self::Rich { opened, row, more: Box::new(More::new(rules, salt, |_, rule| Gauge::new(rule))) }
            }
        }
    }

    /// With the counts of `old`, whose rules count as these do.
    pub(crate) fn after(old: &Self, rules: &Arc<Rules>) -> Self {
        let opened = AtomicU16::new(old.opened().load(Ordering::Relaxed));
        let row = old.row().copy();
        match Size::of(rules) {
            Size::Plain => Self::Plain { opened, row, rules: Arc::clone(rules) },
            Size::Ten(shape) => {
                let window = old.ten_of(shape).unwrap_or_else(TimeWindow::ten);
                Self::Ten { opened, row, ten: Box::new(Ten { rules: Arc::clone(rules), window }) }
            }
            Size::Counted(size) => {
                let window = old.counted_of(size).unwrap_or_else(|| CountWindow::new(size));
                Self::Counted { opened, row, counted: Box::new(Counted { rules: Arc::clone(rules), window }) }
            }
            Size::Rich => {
                let salt = old.extras().map_or(0, |extras| extras.salt);
                let mut more = More::new(rules, salt, |index, rule| old.gauge(index, rule));
                if let (Some(new), Some(old)) = (&mut more.extras, old.extras()) {
                    new.take_over(old);
                }
                if let Self::Rich { more: old, .. } = old {
                    for (new, old) in more.probes.iter().zip(&old.probes) {
                        new.store(old.load(Ordering::Acquire), Ordering::Release);
                    }
                }
                Self::Rich { opened, row, more: Box::new(more) }
            }
        }
    }

    fn ten_of(&self, shape: TimeShape) -> Option<TimeWindow<[AtomicU64; 10]>> {
        match self {
            Self::Plain { .. } | Self::Counted { .. } => None,
            Self::Ten { ten, .. } => Some(ten.window.copy_ten()),
            Self::Rich { more, .. } => match more.first.as_ref()?.window_of_failures()? {
                Window::Time(known, window) if *known == shape => Some(window.copy_ten()),
                _ => None,
            },
        }
    }

    fn counted_of(&self, size: u32) -> Option<CountWindow> {
        let window = match self {
            Self::Plain { .. } | Self::Ten { .. } => return None,
            Self::Counted { counted, .. } => &counted.window,
            Self::Rich { more, .. } => match more.first.as_ref()?.window_of_failures()? {
                Window::Count(window) => window,
                Window::Time(..) => return None,
            },
        };
        (window.size() == size).then(|| window.copy())
    }

    fn gauge(&self, index: usize, rule: GaugeRule) -> Gauge {
        match self {
            Self::Plain { .. } => Gauge::new(rule),
            Self::Ten { ten, .. } => {
                let Measure::Window(Shape::Time(shape)) = rule.measure else { return Gauge::new(rule) };
                let window = Window::Time(shape, ten.window.copy());
                Gauge { rule, meter: crate::gauge::Meter::Window(window) }
            }
            Self::Counted { counted, .. } => {
                let window = Window::Count(counted.window.copy());
                Gauge { rule, meter: crate::gauge::Meter::Window(window) }
            }
            Self::Rich { more, .. } => {
                more.gauges().nth(index).map_or_else(|| Gauge::new(rule), |gauge| gauge.copy(rule))
            }
        }
    }

    #[inline]
    pub(crate) fn row(&self) -> &Row {
        match self {
            Self::Plain { row, .. }
            | Self::Ten { row, .. }
            | Self::Counted { row, .. }
            | Self::Rich { row, .. } => row,
        }
    }

    pub(crate) fn opened(&self) -> &AtomicU16 {
        match self {
            Self::Plain { opened, .. }
            | Self::Ten { opened, .. }
            | Self::Counted { opened, .. }
            | Self::Rich { opened, .. } => opened,
        }
    }

    pub(crate) fn rules(&self) -> &Arc<Rules> {
        match self {
            Self::Plain { rules, .. } => rules,
            Self::Ten { ten, .. } => &ten.rules,
            Self::Counted { counted, .. } => &counted.rules,
            Self::Rich { more, .. } => &more.rules,
        }
    }

    #[inline]
    pub(crate) fn more(&self) -> Option<&More> {
        match self {
            Self::Rich { more, .. } => Some(more),
            _ => None,
        }
    }

    pub(crate) fn extras(&self) -> Option<&Extras> {
        self.more()?.extras.as_deref()
    }

    pub(crate) fn dry(&self) -> Option<&Dry> {
        self.extras()?.dry.as_deref()
    }

    pub(crate) fn probes(&self) -> &[AtomicU64] {
        self.more().map_or(&[], |more| &more.probes)
    }

    pub(crate) fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        self.more().into_iter().flat_map(More::gauges)
    }
}

enum Size {
    Plain,
    Ten(TimeShape),
    Counted(u32),
    Rich,
}

impl Size {
    fn of(rules: &Rules) -> Self {
        if rules.half_open.max_concurrent != 1 || Extras::are_needed(rules) {
            return Self::Rich;
        }
        let any = rules.combine == Combine::Any || rules.consecutive.is_none();
        match *rules.gauges {
            [] => Self::Plain,
            [GaugeRule { bad: Bad::Failed, measure: Measure::Window(shape), .. }] if any => match shape {
                Shape::Time(shape) if shape.is_ten() => Self::Ten(shape),
                Shape::Time(_) => Self::Rich,
                Shape::Count(size) => Self::Counted(size),
            },
            _ => Self::Rich,
        }
    }
}

impl More {
    fn new(rules: &Arc<Rules>, salt: u64, gauge: impl Fn(usize, GaugeRule) -> Gauge) -> Self {
        let mut gauges = rules.gauges.iter().enumerate().map(|(index, rule)| gauge(index, *rule));
        let first = gauges.next();
        let further: Box<[Gauge]> = gauges.collect();
        let forgets = rules.backoff().is_some_and(|backoff| backoff.forget != Forget::OnClose);
        let any = rules.combine == Combine::Any || rules.consecutive.is_none();
        let quick = first.as_ref().is_some_and(|first| first.window_of_failures().is_some())
            && further.is_empty()
            && any
            && !forgets
            && !rules.dry_run;
        Self {
            rules: Arc::clone(rules),
            first,
            further,
            probes: (1..rules.half_open.max_concurrent).map(|_| AtomicU64::new(0)).collect(),
            extras: Extras::are_needed(rules).then(|| Box::new(Extras::new(rules, salt))),
            quick,
            timed: rules.looks_at_slow() || rules.looks_at_overdue(),
        }
    }

    pub(crate) fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        self.first.iter().chain(&self.further)
    }
}

impl Extras {
    fn are_needed(rules: &Rules) -> bool {
        !rules.waits_alike() || rules.ramp.is_some() || rules.half_open.ratio.is_some() || rules.dry_run
    }

    fn new(rules: &Rules, salt: u64) -> Self {
        Self {
            salt,
            attempt: AtomicU32::new(0),
            clean_run: AtomicU32::new(0),
            clean_since: AtomicU64::new(0),
            ramp: Return::new(),
            verdicts: Verdicts::new(),
            dry: rules.dry_run.then(|| Box::new(Dry::new())),
        }
    }

    fn take_over(&mut self, old: &Self) {
        self.attempt = AtomicU32::new(old.attempt.load(Ordering::Acquire));
        self.clean_run = AtomicU32::new(old.clean_run.load(Ordering::Acquire));
        self.clean_since = AtomicU64::new(old.clean_since.load(Ordering::Acquire));
        self.ramp = old.ramp.copy();
        self.verdicts = old.verdicts.copy();
    }
}

impl Dry {
    fn new() -> Self {
        Self {
            until: AtomicU64::new(u64::MAX),
            owner: AtomicU64::new(Owner::UNNAMED.bits()),
            refused: AtomicU64::new(0),
            refused_ok: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            regressions: AtomicU64::new(0),
        }
    }

    pub(crate) fn take_over(&self, old: &Self) {
        let pairs = [
            (&self.until, &old.until),
            (&self.owner, &old.owner),
            (&self.refused, &old.refused),
            (&self.refused_ok, &old.refused_ok),
            (&self.latest, &old.latest),
            (&self.regressions, &old.regressions),
        ];
        for (new, old) in pairs {
            new.store(old.load(Ordering::Acquire), Ordering::Release);
        }
    }
}
