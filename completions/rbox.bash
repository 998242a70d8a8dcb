# bash completion for rbox

__rbox_complete() {
    local cur words cword
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: cur words cword
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
    fi

    local -a lines
    mapfile -t lines < <("${words[0]}" __complete "${words[@]:1:cword-1}" "$cur" 2>/dev/null)
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

complete -o default -F __rbox_complete rbox
