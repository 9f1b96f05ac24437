//! Inputs that say where they are cut.

/// Takes the places where the rest of an input is cut off its front: a count, and as many distances.
pub(crate) fn cuts(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((count, rest)) = data.split_first() else {
        return (Vec::new(), data);
    };
    let count = usize::from(*count % MOST).min(rest.len());
    let (distances, rest) = rest.split_at(count);
    let mut at = 0;
    let places = distances.iter().map(|distance| {
        at += usize::from(*distance);
        at
    });
    (places.collect(), rest)
}

/// The pieces between the places.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let to = cut.clamp(from, bytes.len());
        pieces.push(&bytes[from..to]);
        from = to;
    }
    pieces
}

const MOST: u8 = 16;
