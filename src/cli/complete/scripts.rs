//! The scripts that a shell sources. They know nothing of commands: each asks the
//! program (see [`super`]), so they need no update when commands change.

/// A shell that there is a script for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// GNU bash, with or without the bash-completion package.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    PowerShell,
}

impl Shell {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bash, Self::Zsh, Self::Fish, Self::PowerShell];

    /// The file name that the shell, or its package, looks for.
    #[must_use]
    pub fn file_name(self, program: &str) -> String {
        match self {
            Self::Bash => format!("{program}.bash"),
            Self::Zsh => format!("_{program}"),
            Self::Fish => format!("{program}.fish"),
            Self::PowerShell => format!("{program}.ps1"),
        }
    }
}

/// The script for a program of this name.
#[must_use]
pub fn script(shell: Shell, program: &str, describe: bool) -> String {
    let template = match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
        Shell::PowerShell => POWERSHELL,
    };
    let request = if describe { super::REQUEST } else { super::REQUEST_BARE };
    // Function names are stricter than file names.
    let function: String = program.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    template.replace("%PROGRAM%", program).replace("%FUNCTION%", &function).replace("%REQUEST%", request)
}

const BASH: &str = r#"# bash completion for %PROGRAM%

__%FUNCTION%_complete() {
    local cur words cword
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: cur words cword
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
    fi

    local -a lines
    mapfile -t lines < <("${words[0]}" %REQUEST% "${words[@]:1:cword-1}" "$cur" 2>/dev/null)
    (( ${#lines[@]} )) || return
    local directive=${lines[-1]#:}
    unset 'lines[-1]'

    if (( directive & 16 )); then
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        compopt -o filenames
        return
    fi
    (( directive & 2 )) && compopt -o nospace
    (( directive & 4 )) && compopt +o default

    local line word description width=0
    for line in "${lines[@]}"; do
        word=${line%%$'\t'*}
        COMPREPLY+=("$word")
        (( ${#word} > width )) && width=${#word}
    done
    # Descriptions are for the eye only: when the list is shown, not when a word is inserted.
    if (( COMP_TYPE == 63 && ${#lines[@]} > 1 )); then
        COMPREPLY=()
        for line in "${lines[@]}"; do
            word=${line%%$'\t'*}
            description=
            [[ $line == *$'\t'* ]] && description="  (${line#*$'\t'})"
            printf -v line '%-*s%s' "$width" "$word" "$description"
            COMPREPLY+=("${line:0:${COLUMNS:-80}}")
        done
    fi
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}

complete -o default -F __%FUNCTION%_complete %PROGRAM%
"#;

const ZSH: &str = r#"#compdef %PROGRAM%

_%FUNCTION%() {
    local -a lines described options
    local line directive
    lines=("${(@f)$("${words[1]}" %REQUEST% "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
    (( ${#lines} )) || return 1
    directive=${lines[-1]#:}
    lines[-1]=()

    # What the program suggests for --flag=value is the value.
    [[ $words[CURRENT] == --*=* ]] && compset -P '--*='
    if (( directive & 16 )); then
        _path_files -/
        return
    fi
    for line in $lines; do
        if [[ $line == *$'\t'* ]]; then
            described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        else
            described+=("${line//:/\\:}")
        fi
    done
    (( directive & 2 )) && options=(-S '')
    if (( ${#described} )); then
        _describe -V %PROGRAM% described $options
    elif (( ! (directive & 4) )); then
        _files
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _%FUNCTION% "$@"
else
    compdef _%FUNCTION% %PROGRAM%
fi
"#;

const FISH: &str = r#"# fish completion for %PROGRAM%

function __%FUNCTION%_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -q last[1]; or set last ""
    set -l lines ($words[1] %REQUEST% $words[2..] $last 2>/dev/null)
    set -q lines[1]; or return
    set -l directive (string sub -s 2 -- $lines[-1])
    set -e lines[-1]
    # fish completes the whole word: what is suggested for --flag=value needs the flag again.
    set -l prefix (string match -r '^--[^=]+=' -- $last)
    if test (math "bitand($directive, 16)") -ne 0
        __fish_complete_directories $last
    else if set -q lines[1]
        for line in $lines
            echo "$prefix$line"
        end
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path $last
    end
end

complete -c %PROGRAM% -e
complete -c %PROGRAM% -f -k -a '(__%FUNCTION%_complete)'
"#;

const POWERSHELL: &str = r#"# PowerShell completion for %PROGRAM%

Register-ArgumentCompleter -Native -CommandName '%PROGRAM%' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })
    $arguments = @($words | Select-Object -Skip 1) + @("$wordToComplete")
    $lines = @(& $words[0] '%REQUEST%' @arguments 2>$null)
    if ($lines.Count -eq 0) { return }
    $directive = [int]$lines[-1].TrimStart(':')
    $space = if ($directive -band 2) { '' } else { ' ' }
    $prefix = if ($wordToComplete -match '^--[^=]+=') { $Matches[0] } else { '' }
    $lines | Select-Object -SkipLast 1 | ForEach-Object {
        $word, $description = $_ -split "`t", 2
        if (-not $description) { $description = $word }
        [System.Management.Automation.CompletionResult]::new("$prefix$word$space", $word, 'ParameterValue', $description)
    }
}
"#;
