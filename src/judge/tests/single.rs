use super::*;
use crate::judge::single;

const ROPE: &str = "model.layers.1.self_attn.q_rope";
const CONTEXT: &str = "model.layers.1.self_attn.context";

fn around(name: &str, path: Attention, bend: Bend) -> Vec<(String, Tensor)> {
    let model = tiny();
    let case = model.fixture.as_ref().unwrap().case("short").unwrap();
    let mut port = Bent { port: LlamaPort::new(llama(&model, path)), bend };
    let tensors = single(&mut port, &case, site(name)).unwrap();
    tensors.into_iter().map(|(site, tensor)| (site.to_string(), tensor)).collect()
}

fn names(tensors: &[(String, Tensor)]) -> Vec<&str> {
    tensors.iter().map(|(name, _)| name.rsplit('.').next().unwrap()).collect()
}

/// Inputs are reference values, even if the port computed other values; the site itself is the port's.
#[test]
fn an_operation_is_extracted_with_the_inputs_it_was_fed() {
    let values = |tensors: &[(String, Tensor)], i: usize| -> Vec<f32> {
        tensors[i].1.flatten_all().unwrap().to_vec1().unwrap()
    };
    let sound = around(ROPE, Attention::Plain, unbent());
    assert_eq!(names(&sound), ["q_proj", "q_rope"]);
    let twice = || Box::new(|q: Tensor| Ok(Some((q * 2.0)?)));
    let fed = around(ROPE, Attention::Plain, at("model.layers.1.self_attn.q_proj", twice()));
    assert_eq!((values(&fed, 0), values(&fed, 1)), (values(&sound, 0), values(&sound, 1)));
    let own = around(ROPE, Attention::Plain, at(ROPE, twice()));
    assert_eq!(values(&own, 0), values(&sound, 0));
    assert_eq!(values(&own, 1), values(&sound, 1).iter().map(|v| v * 2.0).collect::<Vec<_>>());
}

/// An input that this path never computes as a tensor is replaced by that input's own inputs.
#[test]
fn hidden_inputs_are_replaced_by_their_own_inputs() {
    assert_eq!(names(&around(CONTEXT, Attention::Plain, unbent())), ["v_proj", "probs", "context"]);
    let fused = around(CONTEXT, Attention::Fused, unbent());
    assert_eq!(names(&fused), ["v_proj", "q_rope", "k_rope", "context"]);
}
