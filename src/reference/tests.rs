use super::*;

#[test]
fn x() {
    let source = Source::Folder("fixtures/smollm2-135m".into());
    let f = Fixture::open(source).unwrap();
    println!("{:?}", f.cases);
    let c = f.case("short").unwrap();
    for s in c.sites().take(20) {
        let t = c.truth(s).unwrap();
        println!("{s} {:?} {:?} {:?}", t.row_shape, t.scale(0), c.noise(s, (0, 4), DType::F32, Feed::Site));
    }
}
