//! `memory apply`: shows what is to be done, does it service by service, and says what took effect and what was undone.

use std::io::{self, Write};

use serde::Serialize;
use systemd_policy::act::{
    Applied, CouldNot, Deed, Done, Limit, Measures, Plan, Step, SystemdHands, apply, lift_all, plan,
};
use systemd_policy::{Action, Recommendation, Roots, decide, observe, remember};

use super::report::{advice, in_words};
use super::state::{State, leftovers};
use super::{expect_systemd, failure, is_root, look_twice, tell};
use crate::args;
use crate::failure::Failure;
use crate::output::{Align, BAD, Bytes, DIM, Paint, Table, WARN, printable, wrapped};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    dry_run: bool,
    plan: &'a Plan,
    /// What became of it; `None` if it was only shown.
    applied: Option<&'a Applied>,
    lacks: &'a [String],
}

pub(super) fn run(session: &Session, args: &args::Apply) -> Result<(), Failure> {
    let state = State::of(&args.whose)?;
    if args.undo {
        return undo(session, args, &state);
    }
    let config = &session.config().memory;
    let (now, history) = look_twice(session, args.recorded.as_deref())?;
    let measures = state.measures()?;
    let mut standing = state.standing(now.at)?;
    let mut recommendations = leftovers(&measures, config);
    recommendations.extend(decide(&now, &history, &standing, config));
    let planned = plan(&recommendations, config, &measures);
    let is_anything = recommendations.iter().any(|one| one.action != Action::Advise);
    tell(session.output, &now.lacks);
    show(session, &planned, args.dry_run)?;
    let applied = if args.dry_run {
        None
    } else if is_anything {
        expect_systemd()?;
        state.make_directory()?;
        let mut measures = Measures::open(state.path()).map_err(failure)?;
        let mut hands = hands(args.whose.user);
        let mut all = Applied::default();
        for group in by_service(&recommendations) {
            let applied = apply(&group, &mut hands, config, &mut measures);
            for done in applied.done.iter().filter(|done| counts(done)) {
                remember(&mut standing, &done.recommendation, now.at);
            }
            all.extend(applied);
        }
        keep(session, &state, &standing);
        Some(all)
    } else {
        Some(Applied::default())
    };
    let answer =
        Answer { dry_run: args.dry_run, plan: &planned, applied: applied.as_ref(), lacks: &now.lacks };
    session.output.result(&answer, |out| outcome(out, applied.as_ref()))?;
    verdict(args, applied.as_ref())
}

/// Takes back all that stands.
fn undo(session: &Session, args: &args::Apply, state: &State) -> Result<(), Failure> {
    if state.measures()?.is_empty() {
        return session.output.result(&Applied::default(), |out| {
            writeln!(out, "nothing that was set stands, so there is nothing to take back")
        });
    }
    expect_systemd()?;
    let mut measures = Measures::open(state.path()).map_err(failure)?;
    let applied = lift_all(&mut hands(args.whose.user), &mut measures);
    drop(measures);
    // What was taken back is not set again at once.
    if let Ok(now) = observe(&Roots::default(), &session.config().memory) {
        let mut standing = state.standing(now.at)?;
        for done in &applied.done {
            remember(&mut standing, &done.recommendation, now.at);
        }
        keep(session, state, &standing);
    }
    session.output.result(&applied, |out| outcome(out, Some(&applied)))?;
    verdict(args, Some(&applied))
}

fn hands(user: bool) -> SystemdHands {
    if user { SystemdHands::user(Roots::default()) } else { SystemdHands::system(Roots::default()) }
}

/// Whether it is not to be done again at once: advice may be read again, and what brought nothing back may be tried again. What
/// could not be reclaimed counts, because then something else is tried.
fn counts(done: &Done) -> bool {
    match done.recommendation.action {
        Action::Advise => false,
        Action::BringBack => done.took_effect,
        _ => true,
    }
}

fn keep(session: &Session, state: &State, standing: &[systemd_policy::Standing]) {
    if let Err(error) = state.remember(standing) {
        session.output.note(format_args!(
            "what was done could not be written down beside {:?}: {error}; the next call may do it again",
            state.path()
        ));
    }
}

/// What belongs together: one that fails does not keep the others from theirs.
fn by_service(recommendations: &[Recommendation]) -> Vec<Vec<Recommendation>> {
    let mut groups: Vec<Vec<Recommendation>> = Vec::new();
    for one in recommendations {
        match groups.iter_mut().find(|group| group.iter().any(|other| other.service == one.service)) {
            Some(group) => group.push(one.clone()),
            None => groups.push(vec![one.clone()]),
        }
    }
    groups
}

fn verdict(args: &args::Apply, applied: Option<&Applied>) -> Result<(), Failure> {
    let Some(Applied { could_not, .. }) = applied.filter(|applied| !applied.is_complete()) else {
        return Ok(());
    };
    let count = crate::output::count(could_not.len() as u64, "thing");
    if args.whose.user || is_root() {
        return Err(Failure::Partial(format!("{count} could not be done")));
    }
    Err(Failure::Refused(format!(
        "{count} could not be done; run it as root, or with --user for services of your own"
    )))
}

/// The plan, before anything is done.
fn show(session: &Session, plan: &Plan, dry_run: bool) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    session.output.result(&(), |out| print(out, plan, dry_run))
}

fn print(out: &mut dyn Write, plan: &Plan, dry_run: bool) -> io::Result<()> {
    let (advised, steps): (Vec<&Step>, Vec<&Step>) =
        plan.steps.iter().partition(|step| step.recommendation.action == Action::Advise);
    if steps.is_empty() && plan.refused.is_empty() {
        writeln!(out, "nothing to do")?;
    } else {
        writeln!(out, "{}", if dry_run { "would be done" } else { "to do" })?;
        for step in steps {
            writeln!(out, "  {}: {}", printable(&step.recommendation.service), deed(step))?;
            wrapped(out, 4, &step.recommendation.reason)?;
        }
    }
    for CouldNot { what, reason, .. } in &plan.refused {
        writeln!(out, "  {} {}", "refused".paint(BAD), printable(what))?;
        wrapped(out, 4, reason)?;
    }
    let of: Vec<&Recommendation> = advised.iter().map(|step| &step.recommendation).collect();
    advice(out, &of)
}

fn deed(step: &Step) -> String {
    let bytes = Bytes(step.recommendation.bytes);
    match &step.deed {
        Deed::Set(limit, to) => format!("set {} to {}", limit.property(), amount(*to)),
        Deed::Lift(limit, to) => format!("set {} to {}, as it was before", limit.property(), amount(*to)),
        Deed::BringBack => format!("bring up to {bytes} back from swap"),
        Deed::Reclaim => format!("reclaim {bytes}"),
        Deed::AskToRelease(socket, memory) => format!("ask at {socket:?} to release {bytes} of {memory}"),
        Deed::Nothing => "nothing to take back".to_owned(),
    }
}

/// What became of it.
fn outcome(out: &mut dyn Write, applied: Option<&Applied>) -> io::Result<()> {
    let Some(applied) = applied else { return Ok(()) };
    let mut table = Table::new([
        ("service", Align::Left),
        ("what", Align::Left),
        ("before", Align::Right),
        ("now", Align::Right),
        ("", Align::Left),
    ]);
    let done = applied.done.iter().filter(|done| done.recommendation.action != Action::Advise);
    let done: Vec<&Done> = done.collect();
    for done in &done {
        let style = if done.took_effect { anstyle::Style::new() } else { WARN };
        table.styled_row(row(done, effect(done)), style);
    }
    for done in &applied.undone {
        let undone = Done { before: done.after, after: done.before, ..done.clone() };
        table.styled_row(row(&undone, "undone again".to_owned()), DIM);
    }
    if !done.is_empty() || !applied.undone.is_empty() {
        writeln!(out)?;
        table.write(out)?;
    }
    for CouldNot { what, reason, .. } in &applied.could_not {
        writeln!(out, "{} {}", "could not be done:".paint(BAD), printable(what))?;
        wrapped(out, 2, reason)?;
    }
    Ok(())
}

fn row(done: &Done, effect: String) -> [String; 5] {
    // Of what sets or takes back a limit, which one; of the others, what.
    let limits = [Limit::MemoryLow, Limit::MemoryHigh, Limit::MemoryMax, Limit::MemorySwapMax];
    let limit = limits.into_iter().find(|limit| done.what.contains(&format!("set {}=", limit.property())));
    let (what, shown): (_, fn(Option<u64>) -> String) = match limit {
        Some(limit) => (limit.property(), amount),
        None => (in_words(done.recommendation.action), moved),
    };
    let service = printable(&done.recommendation.service);
    [service, what.to_owned(), shown(done.before), shown(done.after), effect]
}

fn effect(done: &Done) -> String {
    let Done { took_effect, note, .. } = done;
    match (took_effect, note.as_str()) {
        (true, "") => "in effect".to_owned(),
        (true, note) => format!("in effect, {note}"),
        (false, "") => "not in effect".to_owned(),
        (false, note) => note.to_owned(),
    }
}

/// A limit.
fn amount(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "no limit".to_owned(), |bytes| Bytes(bytes).to_string())
}

/// An amount of memory.
fn moved(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use systemd_policy::Config;
    use systemd_policy::act::Model;

    use super::*;

    fn recommended(service: &str, action: Action, bytes: u64) -> Recommendation {
        Recommendation { service: service.to_owned(), action, bytes, reason: "RAM is 91 % used".to_owned() }
    }

    fn plain(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap()
    }

    #[test]
    fn what_belongs_to_one_service_stays_together() {
        let all = [
            recommended("a.service", Action::Protect, 1),
            recommended("b.service", Action::Reclaim, 1),
            recommended("a.service", Action::BringBack, 1),
        ];
        let groups = by_service(&all);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_plan_says_limits_and_amounts_in_units() {
        let all = [
            recommended("omnimind.service", Action::KeepOutOfSwap, 5 << 20),
            recommended("omnimind-core.service", Action::Protect, 100 << 20),
            recommended("other.service", Action::Reclaim, 1),
        ];
        let planned = plan(&all, &Config::default(), &[]);
        let text = plain(|out| print(out, &planned, true));
        for line in [
            "would be done",
            "  omnimind.service: set MemorySwapMax to 0 B",
            "    RAM is 91 % used",
            "  omnimind-core.service: set MemoryLow to 100.0 MiB",
            "  refused other.service: Reclaim",
        ] {
            assert!(text.lines().any(|other| other == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_took_effect_and_what_was_undone_is_told() {
        let (config, mut measures) = (Config::default(), Measures::in_memory());
        let mut model = Model::with(["omnimind.service"]);
        let first = recommended("omnimind.service", Action::KeepOutOfSwap, 1);
        let done = apply(std::slice::from_ref(&first), &mut model, &config, &mut measures);
        let text = plain(|out| outcome(out, Some(&done)));
        assert!(text.contains("omnimind.service  MemorySwapMax  no limit  0 B  in effect"), "{text}");

        let (mut measures, mut model) = (Measures::in_memory(), Model::with(["omnimind.service"]));
        let both = [first, recommended("omnimind-core.service", Action::Protect, 1)];
        let failed = apply(&both, &mut model, &config, &mut measures);
        let text = plain(|out| outcome(out, Some(&failed)));
        assert!(text.contains("MemorySwapMax     0 B  no limit  undone again"), "{text}");
        assert!(text.contains("could not be done: omnimind-core.service"), "{text}");
        assert!(text.contains("there is no such unit"), "{text}");
    }
}
