//! From the text of a file to scenarios.

use crate::action::Action;
use crate::expectation::Expectation;
use crate::lines::{Line, lines};
use crate::time::Move;

/// One case of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it shows; unique in its file.
    pub title: String,
    /// Where the case was learnt.
    pub from: Option<String>,
    /// What is tested.
    pub machine: String,
    /// Of every draw.
    pub seed: u64,
    /// The settings, as TOML.
    pub config: String,
    /// What happens.
    pub body: Body,
    /// The line of its title, from 1.
    pub line: usize,
}

/// What a scenario does with its machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The configuration must be refused with an error that contains this.
    Refused(String),
    /// These steps, one after the other.
    Steps(Vec<Step>),
}

/// One line of `steps:`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub(crate) line: usize,
    pub(crate) time: Option<Move>,
    pub(crate) actions: Vec<Action>,
    pub(crate) expectations: Vec<Expectation>,
}

/// Reads a file.
///
/// # Errors
///
/// The first line that is not understood, with its number and what is expected there.
pub fn parse(text: &str) -> Result<Vec<Scenario>, String> {
    let mut scenarios: Vec<Draft> = Vec::new();
    let mut field = Field::Nothing;
    for line in lines(text) {
        let result =
            if line.indented { indented(&mut scenarios, field, line) } else { header(&mut scenarios, line) };
        field = result.map_err(|error| format!("line {}: {error}", line.number))?.unwrap_or(field);
    }
    let scenarios = scenarios.into_iter().map(Draft::finish).collect::<Result<Vec<_>, _>>()?;
    check_titles(&scenarios)?;
    Ok(scenarios)
}

#[derive(Clone, Copy)]
enum Field {
    Nothing,
    Config,
    Steps,
}

#[derive(Default)]
struct Draft {
    line: usize,
    title: String,
    from: Option<String>,
    machine: Option<String>,
    seed: Option<u64>,
    config: String,
    refused: Option<String>,
    steps: Vec<Step>,
}

fn header(scenarios: &mut Vec<Draft>, line: Line<'_>) -> Result<Option<Field>, String> {
    let (key, value) =
        line.text.split_once(':').ok_or_else(|| format!("{:?} is no field: write name: value", line.text))?;
    let value = value.trim();
    if key == "scenario" {
        if value.is_empty() {
            return Err("a scenario needs a title".into());
        }
        scenarios.push(Draft { line: line.number, title: value.to_owned(), ..Draft::default() });
        return Ok(Some(Field::Nothing));
    }
    let scenario = scenarios.last_mut().ok_or("a file begins with scenario: and a title")?;
    match key {
        "from" => scenario.from = Some(value.to_owned()),
        "machine" => scenario.machine = Some(value.to_owned()),
        "seed" => {
            scenario.seed = Some(value.parse().map_err(|_| format!("seed: {value:?} is no whole number"))?);
        }
        "refused" if value.is_empty() => return Err("refused: write a part of the error".into()),
        "refused" => scenario.refused = Some(value.to_owned()),
        "config" | "steps" if !value.is_empty() => return Err(format!("{key}: goes on in indented lines")),
        "config" => return Ok(Some(Field::Config)),
        "steps" => return Ok(Some(Field::Steps)),
        _ => return Err(format!("there is no field {key:?}")),
    }
    Ok(Some(Field::Nothing))
}

fn indented(scenarios: &mut [Draft], field: Field, line: Line<'_>) -> Result<Option<Field>, String> {
    let scenario = scenarios.last_mut().ok_or("a file begins with scenario: and a title")?;
    match field {
        Field::Nothing => return Err("an indented line belongs to config: or steps:".into()),
        Field::Config => {
            scenario.config.push_str(line.text);
            scenario.config.push('\n');
        }
        Field::Steps => scenario.steps.push(step(line)?),
    }
    Ok(None)
}

fn step(line: Line<'_>) -> Result<Step, String> {
    let (happens, holds) = line.text.split_once("=>").map_or((line.text, None), |(a, b)| (a, Some(b)));
    let happens = happens.trim();
    let (first, rest) = happens.split_once(char::is_whitespace).unwrap_or((happens, ""));
    let (time, happens) = match Move::parse(first) {
        Some(time) => (Some(time?), rest.trim()),
        None => (None, happens),
    };
    let actions = parts(happens).map(Action::parse).collect::<Result<_, _>>()?;
    let expectations = parts(holds.unwrap_or("")).map(Expectation::parse).collect::<Result<Vec<_>, _>>()?;
    if holds.is_some() && expectations.is_empty() {
        return Err("there is nothing after =>".into());
    }
    Ok(Step { line: line.number, time, actions, expectations })
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    let nothing = text.trim().is_empty();
    text.split(',').filter(move |_| !nothing)
}

impl Draft {
    fn finish(self) -> Result<Scenario, String> {
        let at = |error: &str| format!("line {}: {:?}: {error}", self.line, self.title);
        let body = match (self.refused, self.steps) {
            (Some(error), steps) if steps.is_empty() => Body::Refused(error),
            (Some(_), _) => return Err(at("either refused: or steps:, not both")),
            (None, steps) if steps.iter().all(|step| step.expectations.is_empty()) => {
                return Err(at("it expects nothing"));
            }
            (None, steps) => Body::Steps(steps),
        };
        Ok(Scenario {
            machine: self
                .machine
                .ok_or_else(|| format!("line {}: {:?}: machine: is missing", self.line, self.title))?,
            title: self.title,
            from: self.from,
            seed: self.seed.unwrap_or(1),
            config: self.config,
            body,
            line: self.line,
        })
    }
}

fn check_titles(scenarios: &[Scenario]) -> Result<(), String> {
    let mut titles: Vec<&str> = scenarios.iter().map(|scenario| scenario.title.as_str()).collect();
    titles.sort_unstable();
    match titles.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!("two scenarios have the title {:?}", pair[0])),
    }
}
