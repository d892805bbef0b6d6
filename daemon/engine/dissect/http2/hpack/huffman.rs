//! The Huffman code of HPACK (RFC 7541 5.2 and appendix B), four bits at a time.
//!
//! The code is canonical: the lengths of its words define it, so only they are written down here.

use std::sync::LazyLock;

/// Bits of each symbol's code word; the last one is EOS, which never appears in a text.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const EOS: usize = 256;
/// Marks a child that is a symbol and not a node.
const LEAF: u16 = 0x8000;

/// What four bits do in a state.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    next: u16,
    symbol: u8,
    /// `symbol` is complete.
    emits: bool,
    /// The bits lead to EOS.
    fails: bool,
}

/// The automaton: a state is an inner node of the code's tree.
#[derive(Debug)]
struct Automaton {
    steps: Vec<[Step; 16]>,
    /// Whether a text may end in the state: at a symbol's end or within seven bits of ones.
    ends: Vec<bool>,
}

static AUTOMATON: LazyLock<Automaton> = LazyLock::new(Automaton::new);

impl Automaton {
    fn new() -> Self {
        let tree = tree();
        let steps = (0..tree.len()).map(|node| std::array::from_fn(|bits| step(&tree, node, bits))).collect();
        let mut ends = vec![false; tree.len()];
        let mut node = 0;
        for _ in 0..8 {
            ends[usize::from(node)] = true;
            node = tree[usize::from(node)][1];
        }
        Self { steps, ends }
    }
}

/// Children of each inner node, by bit. The code has 257 words, so there are 256 inner nodes.
fn tree() -> Vec<[u16; 2]> {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let mut tree = vec![[0_u16; 2]];
    let (mut code, mut length) = (0_u32, LENGTHS[order[0]]);
    for symbol in order {
        code <<= LENGTHS[symbol] - length;
        length = LENGTHS[symbol];
        let mut node = 0;
        for bit in (1..length).rev().map(|shift| (code >> shift & 1) as usize) {
            if tree[node][bit] == 0 {
                tree[node][bit] = tree.len() as u16;
                tree.push([0; 2]);
            }
            node = usize::from(tree[node][bit]);
        }
        tree[node][(code & 1) as usize] = LEAF | symbol as u16;
        code += 1;
    }
    tree
}

/// Walks four bits down the tree; the shortest word has five, so at most one symbol ends on the way.
fn step(tree: &[[u16; 2]], node: usize, bits: usize) -> Step {
    let mut step = Step { next: node as u16, ..Step::default() };
    for shift in (0..4).rev() {
        let child = tree[usize::from(step.next)][bits >> shift & 1];
        if child & LEAF == 0 {
            step.next = child;
            continue;
        }
        let symbol = usize::from(child & !LEAF);
        if symbol == EOS {
            return Step { fails: true, ..step };
        }
        step = Step { next: 0, symbol: symbol as u8, emits: true, fails: false };
    }
    step
}

/// Appends the text of `coded` to `out`. False: it is not a text in this code.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let automaton = &*AUTOMATON;
    let mut state = 0_u16;
    for byte in coded {
        for bits in [byte >> 4, byte & 15] {
            // A state is a node of the tree and `bits` has four bits.
            let step = automaton.steps[usize::from(state)][usize::from(bits)];
            if step.fails {
                return false;
            }
            if step.emits {
                out.push(step.symbol);
            }
            state = step.next;
        }
    }
    automaton.ends[usize::from(state)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).then_some(out)
    }

    #[test]
    fn the_examples_of_the_rfc_decode() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(text(&coded).expect("valid"), b"www.example.com");
        assert_eq!(text(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).expect("valid"), b"no-cache");
    }

    #[test]
    fn the_tree_is_full() {
        assert_eq!(tree().len(), 256);
        assert!(tree().iter().flatten().all(|child| *child != 0));
    }

    #[test]
    fn wrong_padding_and_eos_are_refused() {
        assert!(text(&[0b0001_1000]).is_none(), "zeros as padding");
        assert!(text(&[0x1f, 0xff]).is_none(), "more than seven bits of padding");
        assert!(text(&[0xff, 0xff, 0xff, 0xff]).is_none(), "EOS");
        assert_eq!(text(&[]).expect("empty"), b"");
    }
}
