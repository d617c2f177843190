//! A graph of imports, and the cycles in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The imports of each file or room.
#[derive(Debug, Default)]
pub struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Adds the import of `to` by `from`.
    pub fn add(&mut self, from: &str, to: &str) {
        self.0.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    /// Every import in order, as (importer, imported).
    pub fn imports(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(from, all)| all.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// The imports between rooms. A room is a top-level module: the first name of a path.
    pub fn rooms(&self) -> Self {
        let mut rooms = Self::default();
        let pairs = self.imports().map(|(from, to)| (room(from), room(to)));
        pairs.filter(|(from, to)| from != to).for_each(|(from, to)| rooms.add(from, to));
        rooms
    }

    /// One line per import.
    pub fn list(&self) -> String {
        self.imports().map(|(from, to)| format!("{from} -> {to}\n")).collect()
    }

    /// Cycles, each as `a -> b -> a`. Of cycles that share files, it lists at least one.
    pub fn circles(&self) -> Vec<String> {
        let (mut circles, mut seen) = (Vec::new(), BTreeSet::new());
        for start in self.0.keys() {
            if !seen.contains(start.as_str())
                && let Some(circle) = self.shortest_circle(start)
            {
                seen.extend(circle.iter().copied());
                circles.push(circle.join(" -> "));
            }
        }
        circles
    }

    fn shortest_circle<'a>(&'a self, start: &'a str) -> Option<Vec<&'a str>> {
        let (mut paths, mut visited) = (VecDeque::from([vec![start]]), BTreeSet::new());
        while let Some(path) = paths.pop_front() {
            for next in path.last().and_then(|&last| self.0.get(last)).into_iter().flatten() {
                let longer = [path.as_slice(), &[next.as_str()]].concat();
                if next == start {
                    return Some(longer);
                }
                if visited.insert(next) {
                    paths.push_back(longer);
                }
            }
        }
        None
    }
}

/// The room of a file: `plants` for `plants::rows`.
pub fn room(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

#[test]
fn the_shortest_cycle_through_each_file_is_found() {
    let mut graph = Graph::default();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("c", "b"), ("d", "e")] {
        graph.add(from, to);
    }
    assert_eq!(graph.circles(), ["b -> c -> b", "d -> b -> c -> d"]);
}

#[test]
fn no_cycle_is_found_in_an_acyclic_graph() {
    let mut graph = Graph::default();
    for (from, to) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")] {
        graph.add(from, to);
    }
    assert!(graph.circles().is_empty());
}
