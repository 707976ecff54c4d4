//! A model of a few kilobytes: the smallest file that can be served. It speaks noise, but always
//! the same.

/// Positions of one sequence: more than any test lives to see.
const CONTEXT: u32 = 1 << 20;

const WIDTH: u64 = 32;
const HEADS: u32 = 2;
const VOCABULARY: usize = 256 + 3;

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n\
                        {{ message['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";

/// Value types of the format.
const UINT32: u32 = 4;
const INT32: u32 = 5;
const FLOAT32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The bytes of a GGUF file.
pub(crate) fn tiny() -> Vec<u8> {
    let entries = metadata();
    let tensors = tensors();
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((entries.len() as u64).to_le_bytes());
    file.extend(entries.concat());
    let mut offset = 0_u64;
    for (name, shape) in &tensors {
        file.extend(text(name));
        file.extend((shape.len() as u32).to_le_bytes());
        file.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        file.extend(0_u32.to_le_bytes()); // F32
        file.extend(offset.to_le_bytes());
        offset += 4 * shape.iter().product::<u64>();
    }
    file.resize(file.len().next_multiple_of(32), 0);
    let mut state = 1_u32;
    for (name, shape) in &tensors {
        for _ in 0..shape.iter().product() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            let value = if name.ends_with("norm.weight") { 1.0 } else { noise };
            file.extend(value.to_le_bytes());
        }
    }
    file
}

/// Every size is a multiple of 32 bytes, so that each tensor begins where the one before ends.
fn tensors() -> Vec<(&'static str, Vec<u64>)> {
    let head = WIDTH / u64::from(HEADS);
    vec![
        ("token_embd.weight", vec![WIDTH, VOCABULARY as u64]),
        ("output_norm.weight", vec![WIDTH]),
        ("blk.0.attn_norm.weight", vec![WIDTH]),
        ("blk.0.attn_q.weight", vec![WIDTH, WIDTH]),
        ("blk.0.attn_k.weight", vec![WIDTH, head]),
        ("blk.0.attn_v.weight", vec![WIDTH, head]),
        ("blk.0.attn_output.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_norm.weight", vec![WIDTH]),
        ("blk.0.ffn_gate.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_up.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_down.weight", vec![WIDTH, WIDTH]),
    ]
}

fn metadata() -> Vec<Vec<u8>> {
    let string = |key: &str, value: &str| entry(key, STRING, &text(value));
    let number = |key: &str, value: u32| entry(key, UINT32, &value.to_le_bytes());
    let names = [(0..=255).map(byte_token).collect(), control_tokens()].concat();
    let kinds: Vec<u8> =
        (0..VOCABULARY).flat_map(|id| if id < 256 { 1_i32 } else { 3 }.to_le_bytes()).collect();
    let names = names.iter().flat_map(|name| text(name)).collect::<Vec<u8>>();
    vec![
        string("general.architecture", "llama"),
        number("llama.context_length", CONTEXT),
        number("llama.embedding_length", WIDTH as u32),
        number("llama.block_count", 1),
        number("llama.feed_forward_length", WIDTH as u32),
        number("llama.attention.head_count", HEADS),
        number("llama.attention.head_count_kv", 1),
        entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, &1e-5_f32.to_le_bytes()),
        string("tokenizer.ggml.model", "gpt2"),
        string("tokenizer.ggml.pre", "smollm"),
        array("tokenizer.ggml.tokens", STRING, VOCABULARY, &names),
        array("tokenizer.ggml.token_type", INT32, VOCABULARY, &kinds),
        array("tokenizer.ggml.merges", STRING, 0, &[]),
        number("tokenizer.ggml.eos_token_id", 258),
        string("tokenizer.chat_template", TEMPLATE),
    ]
}

fn control_tokens() -> Vec<String> {
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec()
}

/// The character that stands for a byte in a byte-level vocabulary: itself if it prints, else one
/// of those from 256 on, in order.
fn byte_token(byte: u8) -> String {
    let prints = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let place = 256 + (0..byte).filter(|below| !prints(below)).count() as u32;
    let code = if prints(&byte) { u32::from(byte) } else { place };
    char::from_u32(code).unwrap().to_string()
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn array(key: &str, kind: u32, len: usize, values: &[u8]) -> Vec<u8> {
    let head = [&kind.to_le_bytes()[..], &(len as u64).to_le_bytes()].concat();
    entry(key, ARRAY, &[&head[..], values].concat())
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
