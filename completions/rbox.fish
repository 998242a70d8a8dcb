# fish completion for rbox

function __rbox_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -q last[1]; or set last ""
    set -l lines ($words[1] __complete $words[2..] $last 2>/dev/null)
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

complete -c rbox -e
complete -c rbox -f -k -a '(__rbox_complete)'
