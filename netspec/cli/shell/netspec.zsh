#compdef netspec
# Completion of netspec for zsh. netspec answers with a kind (what else completes the word: "files", "dirs" or nothing;
# "nospace") in the first line, then a word and what it is a line.
_netspec() {
    local -a answer words_plain words_told ends
    local kind line word about
    answer=("${(@f)$(env _NETSPEC_COMPLETE=zsh_complete \
        _NETSPEC_LINE="${(j: :)words[1,CURRENT-1]} ${words[CURRENT]}" "${(Q)words[1]}" 2>/dev/null)}")
    kind=${answer[1]:-files}
    for line in "${(@)answer[2,-1]}"; do
        word=${line%%$'\t'*}
        about=${line#*$'\t'}
        if [[ -n $about && $line == *$'\t'* ]]; then
            words_told+=("${word//:/\\:}:$about")
        elif [[ -n $word ]]; then
            words_plain+=("$word")
        fi
    done
    [[ $kind == *nospace* ]] && ends=(-S '')
    (( $#words_told )) && _describe -V netspec words_told "${(@)ends}"
    (( $#words_plain )) && compadd -V netspec "${(@)ends}" -a words_plain
    if [[ $kind == *files* || $kind == *dirs* ]]; then
        [[ $PREFIX == --*=* ]] && compset -P '--*='
        if [[ $kind == *dirs* ]]; then _files -/; else _files; fi
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _netspec "$@"
else
    compdef _netspec netspec
fi
