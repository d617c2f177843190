use std::path::Path;

use approx::assert_relative_eq;
use rstest::rstest;

use super::*;
use crate::probe::Kind;

const DENSE: Arithmetic = Arithmetic::Dense;

fn case(name: &str) -> Reference {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    Fixture::open(Source::Folder(folder)).unwrap().case(name).unwrap()
}

#[test]
fn reference_rows_are_found_by_their_place() {
    let case = case("batch-left");
    let reference = case.rows(Site::layer(0, Kind::QRope)).unwrap();
    assert_eq!(reference.row_shape, [6, 32]);
    // Three rows of 3, 5 and 2 tokens, padded left to 5: padding is not stored.
    let third_row: Vec<Place> = reference.places.iter().copied().filter(|(batch, _)| *batch == 2).collect();
    assert_eq!((reference.places.len(), third_row), (10, vec![(2, 3), (2, 4)]));
    assert_eq!(reference.row(9).len(), 6 * 32);
}

#[test]
fn masked_scores_are_minus_infinity_and_their_probabilities_are_zero() {
    let case = case("batch-left");
    let (scores, probs) = (Site::layer(1, Kind::Scores), Site::layer(1, Kind::Probs));
    let (scores, probs) = (case.rows(scores).unwrap(), case.rows(probs).unwrap());
    let barred: Vec<bool> = scores.row(8)[..5].iter().map(|&score| score == f64::NEG_INFINITY).collect();
    // Row 8 is the first token of a batch row after three padding slots: it attends only to itself.
    assert_eq!(barred, [true, true, true, false, true]);
    assert_eq!(probs.row(8)[..5], [0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn noise_of_rotated_queries_grows_with_the_position_and_other_noise_does_not() {
    let case = case("long");
    let at = |kind, position| {
        case.noise_on(DENSE, Feed::Site, Site::layer(0, kind), (0, position), DType::F32).unwrap()
    };
    assert!(at(Kind::QRope, 299).max > 3.0 * at(Kind::QRope, 1).max);
    assert_eq!(at(Kind::QProj, 299), at(Kind::QProj, 1));
}

#[rstest]
#[case(DType::BF16)]
#[case(DType::F16)]
fn noise_is_larger_in_half_precision(#[case] half: DType) {
    let case = case("short");
    let at = |dtype| case.noise_on(DENSE, Feed::Own, Site::model(Kind::Logits), (0, 0), dtype).unwrap();
    assert!(at(half).max > 100.0 * at(DType::F32).max);
}

#[test]
fn noise_that_was_not_measured_is_none() {
    let case = case("short");
    assert_eq!(case.noise_on(DENSE, Feed::Own, Site::model(Kind::Logits), (0, 0), DType::F64), None);
    assert_eq!(case.noise_on(DENSE, Feed::Own, Site::layer(9, Kind::Act), (0, 0), DType::F32), None);
}

#[test]
fn the_scale_of_a_row_is_its_largest_value() {
    let case = case("single");
    let reference = case.rows(Site::model(Kind::Embed)).unwrap();
    let largest = reference.row(0).iter().fold(0f64, |m, v| m.max(v.abs()));
    assert_relative_eq!(reference.scale(0).max, largest);
}

#[test]
fn an_unknown_case_is_an_error_that_lists_the_known_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama2");
    let error = Fixture::open(Source::Folder(folder)).unwrap().case("shrot").unwrap_err();
    assert_eq!(error.hint(), Some("the cases are batch-right, short"));
}

#[rstest]
#[case::site(Feed::Site, &[Kind::Embed, Kind::QRope, Kind::Block, Kind::Logits])]
#[case::block(Feed::Block, &[Kind::Embed, Kind::Block])]
#[case::own(Feed::Own, &[])]
fn each_feed_replaces_its_own_kinds_of_site(#[case] feed: Feed, #[case] kinds: &[Kind]) {
    let replaced = Kind::ALL.iter().copied().filter(|&kind| feed.replaces(kind));
    assert!(kinds.iter().all(|&kind| feed.replaces(kind)));
    assert!(feed == Feed::Site || replaced.count() == kinds.len());
}

#[test]
fn a_case_with_fewer_rows_stores_the_same_values() {
    let q_rope = Site::layer(0, Kind::QRope);
    let less = case("batch-left").keeping(|site, (batch, _)| site == q_rope && batch == 2);
    let (whole, kept) = (case("batch-left"), less.rows(q_rope).unwrap());
    let whole = whole.rows(q_rope).unwrap();
    assert_eq!(kept.places[..], [(2, 3), (2, 4)]);
    assert_eq!([kept.row(0), kept.row(1)], [whole.row(8), whole.row(9)]);
    assert_eq!(less.sites().collect::<Vec<_>>(), [q_rope]);
}

#[rstest]
#[case("tiny-llama", "short", true)]
#[case("tiny-llama/short", ".", false)] // a single captured case is a fixture of one case
fn a_fixture_is_a_folder_of_cases_or_a_single_case(
    #[case] path: &str,
    #[case] holds: &str,
    #[case] facts: bool,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    let fixture = Fixture::open(Source::Folder(folder)).unwrap();
    assert!(fixture.cases.iter().any(|case| case == holds));
    assert_eq!(fixture.case(holds).unwrap().manifest.case, "short");
    assert_eq!(fixture.has_facts().unwrap(), facts);
}
