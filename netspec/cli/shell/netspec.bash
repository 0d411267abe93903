# Completion of netspec for bash 4.4 and newer. netspec answers with a kind (what else completes the word: "files",
# "dirs" or nothing; "nospace") in the first line, then a word and what it is a line.
_netspec_completion() {
    local answer kind current word about
    answer=$(env _NETSPEC_COMPLETE=bash_complete _NETSPEC_LINE="${COMP_LINE:0:COMP_POINT}" \
        _NETSPEC_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null) || return 0
    COMPREPLY=()
    {
        read -r kind
        while IFS=$'\t' read -r word about; do
            COMPREPLY+=("$word")
        done
    } <<<"$answer"
    current=$2
    [[ $kind == *nospace* ]] && compopt -o nospace
    if [[ $kind == *files* || $kind == *dirs* ]]; then
        # without words of its own readline completes files, with tildes, variables and quotes as ever
        ((${#COMPREPLY[@]})) || return 0
        compopt -o filenames
        local action=-f
        [[ $kind == *dirs* ]] && action=-d
        while IFS= read -r word; do
            COMPREPLY+=("$word")
        done < <(compgen "$action" -- "$current")
    else
        compopt +o default
        compopt +o bashdefault
    fi
}

complete -o nosort -o bashdefault -o default -F _netspec_completion netspec
