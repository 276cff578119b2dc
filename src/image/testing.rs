//! Documents for property tests.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

/// Objects in which each member is missing or has one of the values that are listed for it.
pub(crate) fn any_object(choices: &Value) -> BoxedStrategy<Value> {
    let members = choices.as_object().expect("lists of values by name").clone().into_iter();
    let members = members.map(|(name, values)| {
        let values = values.as_array().expect("a list of values").clone();
        option::of(select(values)).prop_map(move |value| Some((name.clone(), value?)))
    });
    members
        .collect::<Vec<_>>()
        .prop_map(|members| members.into_iter().flatten().collect::<Map<_, _>>().into())
        .boxed()
}
