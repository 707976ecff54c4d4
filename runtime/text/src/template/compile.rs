//! A template's source to instructions that pay for what they make.

use std::borrow::Cow;
use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, WhitespaceConfig, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, Value};

use super::environment::{CHECK, MULTIPLY, PAY};

/// A compiled template.
pub(super) struct Compiled<'source> {
    pub(super) instructions: Instructions<'source>,
    pub(super) blocks: BTreeMap<&'source str, Instructions<'source>>,
}

/// Compiles a template with Hugging Face's settings: a block's own line leaves nothing behind.
pub(super) fn compile(source: &str) -> Result<Compiled<'_>, Error> {
    let whitespace =
        WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
    let tree = parse(source, NAME, SyntaxConfig, whitespace)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&tree);
    let (instructions, blocks) = generator.finish();
    let blocks = blocks.iter().map(|(name, block)| (*name, metered(block))).collect();
    Ok(Compiled { instructions: metered(&instructions), blocks })
}

/// Hugging Face marks what the model itself says with `{% generation %}`, for training. Rendering
/// has no use for it, so it becomes a condition that always holds.
pub(super) fn without_generation_tags(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(tag) = rest.find("{%") {
        let (before, after) = rest.split_at(tag + 2);
        plain.push_str(before);
        let Some(end) = after.find("%}") else {
            rest = after;
            break;
        };
        let (inside, after) = after.split_at(end);
        plain.push_str(&match inside.trim_matches(['-', '+', ' ', '\t', '\n', '\r']) {
            "generation" => inside.replace("generation", "if true"),
            "endgeneration" => inside.replace("endgeneration", "endif"),
            _ => inside.to_owned(),
        });
        rest = after;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The same instructions, each followed by one that pays for the value it leaves on the stack.
fn metered<'source>(plain: &Instructions<'source>) -> Instructions<'source> {
    let all = (0u32..).map_while(|at| plain.get(at).map(|instruction| (at, instruction)));
    let mut paid: Vec<(Instruction<'source>, u32)> = Vec::new();
    let mut moved: Vec<u32> = Vec::new();
    for (at, instruction) in all {
        moved.push(paid.len() as u32);
        paid.extend(with_payment(instruction).into_iter().map(|instruction| (instruction, at)));
    }
    moved.push(paid.len() as u32);

    let mut metered = Instructions::new(NAME, plain.source());
    for (mut instruction, at) in paid {
        if let Some(target) = jump_target(&mut instruction) {
            *target = moved[*target as usize];
        }
        match plain.get_line(at) {
            Some(line) => metered.add_with_line(instruction, line as u16),
            None => metered.add(instruction),
        };
    }
    metered
}

fn with_payment<'source>(instruction: &Instruction<'source>) -> Vec<Instruction<'source>> {
    use Instruction as I;
    match instruction {
        // Constant text would be written unpaid; as a value it is paid for by the formatter.
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(*text)), I::Emit],
        I::Mul => vec![filter(MULTIPLY, 2)],
        I::SetAttr(name) => vec![I::Swap, filter(CHECK, 1), I::Swap, I::SetAttr(name)],
        I::Add
        | I::StringConcat
        | I::Slice
        | I::BuildList(_)
        | I::BuildMap(_)
        | I::ApplyFilter(..)
        | I::CallFunction(..)
        | I::CallMethod(..)
        | I::CallObject(_)
        | I::EndCapture
        | I::Iterate(_) => vec![instruction.clone(), filter(PAY, 1)],
        // These leave what was there before, something small, or nothing.
        I::BeginCapture(_)
        | I::BuildKwargs(_)
        | I::BuildMacro(..)
        | I::CallBlock(_)
        | I::CompareAndPreserve(_)
        | I::DiscardTop
        | I::Div
        | I::DupTop
        | I::Emit
        | I::Enclose(_)
        | I::Eq
        | I::ExportLocals
        | I::FastRecurse
        | I::FastSuper
        | I::GetAttr(_)
        | I::GetClosure
        | I::GetItem
        | I::Gt
        | I::Gte
        | I::In
        | I::Include(_)
        | I::IntDiv
        | I::IsUndefined
        | I::Jump(_)
        | I::JumpIfFalse(_)
        | I::JumpIfFalseOrPop(_)
        | I::JumpIfTrueOrPop(_)
        | I::LoadBlocks
        | I::LoadConst(_)
        | I::Lookup(_)
        | I::Lt
        | I::Lte
        | I::MergeKwargs(_)
        | I::Ne
        | I::Neg
        | I::Not
        | I::PerformTest(..)
        | I::PopAutoEscape
        | I::PopFrame
        | I::PopLoopFrame
        | I::Pow
        | I::PushAutoEscape
        | I::PushDidNotIterate
        | I::PushLoop(_)
        | I::PushWith
        | I::Rem
        | I::Return
        | I::StoreLocal(_)
        | I::Sub
        | I::Swap
        | I::UnpackList(_)
        | I::UnpackLists(_) => vec![instruction.clone()],
    }
}

/// Applies a filter to the topmost values, and leaves its result in their place.
fn filter<'source>(name: &'static str, num_args: u16) -> Instruction<'source> {
    /// Tells the machine not to remember the filter by number.
    const NO_NUMBER: u8 = u8::MAX;
    Instruction::ApplyFilter(name, Some(num_args), NO_NUMBER)
}

fn jump_target<'i>(instruction: &'i mut Instruction<'_>) -> Option<&'i mut u32> {
    use Instruction as I;
    let (I::Iterate(target)
    | I::Jump(target)
    | I::JumpIfFalse(target)
    | I::JumpIfFalseOrPop(target)
    | I::JumpIfTrueOrPop(target)
    | I::BuildMacro(_, target, _)) = instruction
    else {
        return None;
    };
    Some(target)
}

/// What error messages call the template.
const NAME: &str = "chat_template";
