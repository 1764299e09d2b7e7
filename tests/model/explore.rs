//! How a configuration is explored: by Stateright for what must always hold, and by a walk of our own for what a checker
//! of single states cannot see, that nothing goes round for ever and nothing gets stuck.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::act::{Action, OneLink};
use super::setup::Setup;

/// By how many steps `MUSTER_MODEL` asks to go further than the bounds; `None`, for `deep`: without a bound.
pub fn wider() -> Option<usize> {
    match std::env::var("MUSTER_MODEL").as_deref() {
        Ok("deep") => None,
        Ok(steps) => Some(steps.parse().expect("MUSTER_MODEL is `deep` or a number of steps")),
        Err(_) => Some(0),
    }
}

/// Explores all states, or all up to `depth` steps from the first, and panics with the shortest known way into a
/// violation.
pub fn explore(setup: Setup, depth: Option<usize>) {
    let (name, began) = (setup.name, Instant::now());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut builder = OneLink::new(setup).checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = depth {
        builder = builder.target_max_depth(depth);
    }
    let checker = builder.spawn_bfs().join();
    let (states, deepest) = (checker.unique_state_count(), checker.max_depth());
    let found = checker.discoveries();
    let how_far = match depth {
        _ if !found.is_empty() => "violated",
        Some(depth) if deepest >= depth => "to this depth",
        _ => "all",
    };
    report(name, states, deepest, how_far, began.elapsed());
    for (property, path) in found {
        let actions: Vec<Action> = path.into_actions();
        panic!("{name}: it does not hold that {property}, after {} steps: {actions:?}", actions.len());
    }
}

#[expect(clippy::print_stdout, reason = "the table of docs/two-way-proof.md is made from it")]
fn report(name: &str, states: usize, deepest: usize, how_far: &str, took: Duration) {
    println!("\n| {name} | {states} | {deepest} | {how_far} | {:.0} s |", took.as_secs_f64());
}

/// Walks all states and panics if some of them are passed again and again, or if something is left to be done in one of
/// which only time leads on, and nowhere.
pub fn comes_to_rest(setup: Setup) {
    let (name, began) = (setup.name, Instant::now());
    let model = OneLink::new(setup);
    let mut numbers = HashMap::new();
    let mut edges: Vec<Vec<u32>> = Vec::new();
    let mut queue = std::collections::VecDeque::new();
    for state in model.init_states() {
        numbers.insert(state.code, 0_u32);
        edges.push(Vec::new());
        queue.push_back((0_u32, state));
    }
    let mut actions = Vec::new();
    while let Some((number, state)) = queue.pop_front() {
        model.actions(&state, &mut actions);
        for action in actions.drain(..) {
            let Some(next) = model.next_state(&state, action) else { continue };
            let count = u32::try_from(numbers.len()).unwrap();
            let to = *numbers.entry(next.code).or_insert(count);
            if to == count {
                for property in model.properties() {
                    assert!((property.condition)(&model, &next), "{name}: {} after {action:?}", property.name);
                }
                edges.push(Vec::new());
                queue.push_back((to, next));
            }
            edges[number as usize].push(to);
        }
        let is_stuck = edges[number as usize].is_empty() && !state.is_at_rest();
        assert!(!is_stuck, "{name}: nothing leads on from {state:#?}");
    }
    let round = cycle(&edges);
    assert!(round.is_none(), "{name}: from {} states a way goes round for ever", round.unwrap_or_default());
    report(name, edges.len(), 0, "all, no round and no dead end", began.elapsed());
}

/// How many states lie on a way that leads back to where it began, if any do: what is left when states without a way out
/// are taken away again and again.
fn cycle(edges: &[Vec<u32>]) -> Option<usize> {
    let mut before = vec![Vec::new(); edges.len()];
    let mut ways: Vec<usize> = edges.iter().map(Vec::len).collect();
    for (from, tos) in edges.iter().enumerate() {
        for to in tos {
            before[*to as usize].push(from);
        }
    }
    let mut ended: Vec<usize> = (0..edges.len()).filter(|state| ways[*state] == 0).collect();
    let mut left = edges.len();
    while let Some(state) = ended.pop() {
        left -= 1;
        for from in &before[state] {
            ways[*from] -= 1;
            if ways[*from] == 0 {
                ended.push(*from);
            }
        }
    }
    (left > 0).then_some(left)
}
